import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { runWaybill } from '../stage/command-line.ts';
import { openEchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { callOperator, removeFolder } from '../stage/sidecar-process.ts';
import { openStage } from '../stage/way-out-stage.ts';

const spiffeId = 'spiffe://example.org/invoice-bot';
const other = 'spiffe://example.org/other';
const ttl = { x509TtlSeconds: 300, jwtTtlSeconds: 300 };

test.for([
  ['has no identity', []],
  ['is somebody else', [{ spiffeId: other }]],
] as const)('W11: an agent that %s by now is revoked by the SPIFFE ID that it had, for good', async ([, entries]) => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-names-'));
  const socketPath = join(dir, 'agent.sock');
  const authority = await openAuthority('example.org');
  const api = await openWorkloadApiServer({ socketPath, authority, spiffeId, ...ttl });
  const tool = await openEchoTool();
  const sections = { identity: { workload_api: `unix://${socketPath}` } };
  const stage = await openStage({ dir, tools: { crm: { port: tool.port } }, sections });
  const revoke = (agent: string) =>
    callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/revoke', { agent, reason: 'compromised' });
  const use = (handle: string) => callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/', { handle });
  const news = () => readRecord(stage.sidecar.eventsFile).filter(({ event }) => event.startsWith('svid.')).length;
  try {
    const { handle } = await stage.task();
    const token = await stage.service.subjectToken();
    expect((await use(handle)).status).toBe(200);
    const before = news();
    if (entries.length === 0) await api.removeEntries();
    else await api.setEntries([...entries]);
    await eventually('the sidecar knows', () => news() > before);
    expect((await revoke('spiffe://example.org/never-ours')).body['tasks']).toBe(0);
    expect((await revoke(spiffeId)).body).toMatchObject({ tasks: 1, credentials: 1 });
    await api.setEntries([{ spiffeId }]);
    expect((await use(handle)).code).toBe('handle_ended');
    const opening = { subject_token: token };
    const again = await callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/tasks', opening);
    expect(again.body['code']).toBe('subject_revoked');
  } finally {
    await stage.close();
    api.close();
    await tool.close();
  }
});

test('W11: a name that the kill switch would take for a slip is no name of an agent', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-name-'));
  const file = join(dir, 'waybill.yaml');
  const validate = (name: string) => {
    writeFileSync(file, `version: 1\nidentity: none\nagent: { name: "${name}" }\n`);
    return runWaybill(['validate', '--config', file]);
  };
  for (const name of [
    'spiffe/bot',
    'Spiffe:bot',
    ' spiffe//example.org/bot',
    'spiffe://example.org',
    'spiffe://example.org/a/',
  ])
    expect([name, await validate(name)]).toMatchObject([
      name,
      { code: 64, stderr: expect.stringMatching(/:3:\d+: agent\.name: .*no SPIFFE ID/) },
    ]);
  for (const name of ['spiffe://example.org/bot', 'spiffe-bot', 'team/bot'])
    expect([name, (await validate(name)).code]).toEqual([name, 0]);
  removeFolder(dir);
});
