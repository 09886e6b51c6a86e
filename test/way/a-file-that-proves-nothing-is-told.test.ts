import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-proof-'));
const at = (name: string): string => join(dir, name);
const secret = 'not-one-line-of-a-secret';
/** What is wrong with the file of each tool, and what of it is told. */
const rows = [
  ['gone', 'client-secret-gone', 'ENOENT'],
  ['empty', 'client-secret-empty', 'empty'],
  ['folder', 'client-secret-folder', 'NoRegularFile'],
  ['nokey', 'key-that-is-none', 'unusable'],
  ['nosecret', 'static-key-gone', 'ENOENT'],
  ['blank', 'static-key-empty', 'empty'],
  ['twolines', 'static-key-of-two-lines', 'unusable'],
] as const;

let tool: EchoTool;
let stage: Stage;

beforeAll(async () => {
  tool = await openEchoTool();
  mkdirSync(at('client-secret-folder'));
  for (const name of ['client-secret-empty', 'static-key-empty']) writeFileSync(at(name), '');
  for (const name of ['key-that-is-none', 'static-key-of-two-lines']) writeFileSync(at(name), `${secret}\n${secret}`);
  const tokenOf = (from: string) => ({ port: tool.port, more: { token: { from, audience: [from], scopes: ['x'] } } });
  const secretOf = (file: string) => ({
    port: tool.port,
    token: false,
    more: { secret: { file: at(file), in: 'header' } },
  });
  stage = await openStage({
    dir,
    tools: Object.fromEntries(
      rows.map(([name, file]) => [name, file.startsWith('static') ? secretOf(file) : tokenOf(name)]),
    ),
    sections: ({ issuer }) => {
      const client = { issuer, client_id: 'bot' };
      const service = (file: string) =>
        file.startsWith('key')
          ? { ...client, client_auth: 'private_key_jwt', client_key_file: at(file) }
          : { ...client, client_auth: 'client_secret_post', client_secret_file: at(file) };
      const named = rows.filter(([, file]) => !file.startsWith('static')).map(([name, file]) => [name, service(file)]);
      return { token_services: Object.fromEntries(named) as object };
    },
  });
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

test.for(rows)('%s: record and log tell which file it is and why, the agent neither', async ([name, file, cause]) => {
  const { handle } = await stage.task();
  const { outbound } = stage.sidecar.addresses;
  const answers = [];
  for (let count = 0; count < 2; count++) answers.push(await callThrough(outbound, `http://${name}.test/`, { handle }));
  const refused = () =>
    readRecord(stage.sidecar.eventsFile).filter((event) => event.event === 'call.refused' && event['tool'] === name);
  await eventually('both are recorded', () => refused().length === 2);
  for (const answer of answers) {
    expect([answer.status, answer.code]).toEqual([503, 'identity_unavailable']);
    expect(answer.body).not.toContain(dir);
  }
  for (const event of refused()) expect(event).toMatchObject({ cause, file: at(file) });
  const told = () =>
    stage.sidecar
      .output()
      .split('\n')
      .filter((line) => line.includes(`"file":"${at(file)}"`));
  await eventually('it is logged', () => told().length > 0);
  expect(told()).toHaveLength(1);
  expect(JSON.parse(told()[0] ?? '')).toMatchObject({ level: 40, cause, file: at(file) });
  expect(stage.sidecar.output() + JSON.stringify(refused())).not.toContain(secret);
});

test('a folder of SVIDs says whether it is not there, holds none, or cannot be taken', async () => {
  const { cert: pem } = await makeToolCertificate('localhost');
  const emptyField = 'a field that must hold certificates is empty';
  for (const [name, more, files] of [
    ['no-folder', { reason: 'absent', cause: 'ENOENT' }, undefined],
    ['no-files', { reason: 'absent' }, {}],
    ['half', { reason: 'unreadable', cause: 'ENOENT', file: at('half/ca.crt') }, { 'tls.crt': pem, 'tls.key': '' }],
    [
      'hollow',
      { reason: 'malformed', cause: emptyField, file: at('hollow/tls.crt') },
      { 'tls.crt': '', 'tls.key': '', 'ca.crt': '' },
    ],
  ] as const) {
    if (files !== undefined) mkdirSync(at(name));
    for (const [file, text] of Object.entries(files ?? {})) writeFileSync(join(dir, name, file), text, { mode: 0o600 });
    const other = await openStage({
      tools: { crm: { port: tool.port } },
      corp: { client_auth: 'spiffe_jwt', client_secret_file: undefined },
      sections: { identity: { svid_dir: at(name) } },
    });
    try {
      const line = () =>
        other.sidecar
          .output()
          .split('\n')
          .find((each) => each.includes('a source of identity or trust fails'));
      await eventually('it is told', () => line() !== undefined);
      expect(JSON.parse(line() ?? '')).toMatchObject({ source: 'svid_dir', folder: at(name), ...more });
      const { handle } = await other.task();
      await callThrough(other.sidecar.addresses.outbound, 'http://crm.test/', { handle });
      await other.sidecar.stop();
      const refused = readRecord(other.sidecar.eventsFile).find(({ event }) => event === 'call.refused');
      expect(refused).toMatchObject({ code: 'identity_unavailable', cause: 'unavailable' });
    } finally {
      await other.close();
    }
  }
});
