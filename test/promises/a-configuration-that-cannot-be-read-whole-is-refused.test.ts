import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { runWaybill } from '../stage/command-line.ts';
import { heard } from '../stage/config-edit.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-whole-'));
const file = join(dir, 'waybill.yaml');
let stage: Stage | undefined;

afterEach(async () => {
  await stage?.close();
  stage = undefined;
});
afterAll(() => rmSync(dir, { recursive: true }));

const text = `version: 1
agent: { name: a }
rules:
  - { name: all, effect: allow, when: "true" }
  - { name: no-payroll, effect: deny, when: 'call.path.startsWith("/gehälter")' }
`;

test.each([
  ['Latin-1', Buffer.from(text, 'latin1'), '5:72'],
  ['UTF-16', Buffer.from(`\ufeff${text}`, 'utf16le'), '1:1'],
  // The sign for what cannot be read is a sign like any other, where it is written.
  ['half of a sign', Buffer.concat([Buffer.from(`${text}# \ufffd\ufffd é`), Buffer.from([0xef, 0xbf])]), '6:7'],
])('W1: a file in %s is told where it begins to be none in UTF-8', async (_name, bytes, place) => {
  writeFileSync(file, bytes);
  for (const command of ['validate', 'run']) {
    const { code, stderr } = await runWaybill([command, '--config', file]);
    expect([code, stderr.split('\n')[0]]).toEqual([
      64,
      `${file}:${place}: is not UTF-8 from here on; save the file as UTF-8`,
    ]);
  }
});

test('the same rule in UTF-8 is good, and so is a sign that stands for others', async () => {
  writeFileSync(file, `${text}# \ufffd\n`);
  expect((await runWaybill(['validate', '--config', file])).code).toBe(0);
});

test('W1: a running sidecar takes none either, and goes on by the one before', async () => {
  stage = await openStage({ tools: { crm: { port: 1, token: false } } });
  const running = join(stage.dir, 'waybill.yaml');
  const said = await heard(stage, () => appendFileSync(running, Buffer.from('# ä', 'latin1')));
  expect(said['event']).toBe('config.rejected');
  expect((await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', {})).code).not.toBe(
    'denied_by_rule',
  );
});
