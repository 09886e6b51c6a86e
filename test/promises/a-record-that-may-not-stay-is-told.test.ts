import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running } from '../stage/command-line.ts';

// Root's folders are those of the system.
const nobody = 65_534;
const isRoot = process.getuid?.() === 0;
let top: string;
let own: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'wb-stay-'));
  chmodSync(top, 0o755);
  if (isRoot) chownSync(top, nobody, nobody);
  own = join(top, `waybill-${isRoot ? nobody : (process.getuid?.() ?? 0)}`);
});
afterEach(() => {
  killRemaining();
  rmSync(top, { recursive: true });
});

/** The files that a sidecar with these places says it may lose. */
async function toldOf(env: Record<string, string>, more = ''): Promise<unknown[]> {
  const file = join(top, 'waybill.yaml');
  writeFileSync(
    file,
    `version: 1
agent: { name: bot }
identity: none
listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' }
${more}`,
  );
  const sidecar = new Running(process.execPath, [launcher, 'run', '--config', file], {
    env: { PATH: process.env['PATH'] ?? '', TMPDIR: top, ...env },
    cwd: top,
    ...(isRoot ? { uid: nobody, gid: nobody } : {}),
  });
  await sidecar.ready();
  const lines = sidecar.stderr.split('\n').filter((line) => line.includes('lies in the temporary folder'));
  return lines.map((line) => (JSON.parse(line) as { files: unknown }).files);
}

test('without a home, the record and the revocations lie where a restart of the machine may clear them', async () => {
  expect(await toldOf({})).toEqual([[join(own, 'state', 'events.jsonl'), join(own, 'state', 'revocations.json')]]);
});

test('with standard output as the record the revocations do', async () => {
  expect(await toldOf({}, 'record: { stdout: true }\n')).toEqual([[join(own, 'state', 'revocations.json')]]);
});

test.each([
  ['a home', () => ({ HOME: join(top, 'home') }), () => ''],
  ['a folder for what is kept', () => ({ XDG_STATE_HOME: join(top, 'kept') }), () => ''],
  ['a record that is named', () => ({}), () => `record: { file: ${top}/kept/events.jsonl }\n`],
])('with %s there is nothing to tell', async (_what, env, more) => {
  expect(await toldOf(env(), more())).toEqual([]);
});
