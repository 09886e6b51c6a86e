import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { defaultFolders } from '../../config/paths.ts';
import { killRemaining, runWaybill } from '../stage/command-line.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-shown-'));
const file = join(dir, 'waybill.yaml');
const env = { ...process.env, XDG_RUNTIME_DIR: join(dir, 'run'), XDG_STATE_HOME: join(dir, 'state') };
const { run, state } = defaultFolders({ uid: process.getuid?.() ?? 0, env });

afterAll(() => {
  killRemaining();
  rmSync(dir, { recursive: true });
});

/** What commands say of a configuration; both stop at its errors, before anything is opened. */
async function explain(text: string): Promise<string[]> {
  writeFileSync(file, `version: 1\nagent: { name: a }\nidentity: none\n${text}\n`);
  const told = await Promise.all(['validate', 'run'].map((name) => runWaybill([name, '--config', file], { env })));
  expect(told.map(({ code }) => code)).toEqual([64, 64]);
  return told.map(({ stderr }) => (stderr.split('\n')[0] ?? '').replace(`${file}:`, ''));
}

test.each([
  ['the default folder of the key', `ca: { publish: ${run} }`, `4:16: ca.publish: must be another folder than`],
  ['the key in the default of it', `ca: { dir: ${run}/trust/x }`, '4:12: ca.dir: must not be in `ca.publish`'],
  ['the default socket', `ca: { dir: ${dir}/k, publish: ${run} }`, '4:'],
  ['the default record', `ca: { publish: ${state} }`, '4:16: ca.publish: must not hold `record.file`'],
])('W10: not %s', async (_name, text, expected) => {
  for (const said of await explain(text)) expect(said).toContain(expected);
});

test('W10: nor by another name of the same folder', async () => {
  mkdirSync(join(dir, 'real/keys'), { recursive: true });
  symlinkSync('real', join(dir, 'link'));
  const said = await explain(`ca: { dir: ${dir}/link/keys/of/ca, publish: ${dir}/real/keys }`);
  for (const one of said) expect(one).toContain('ca.publish: must be another folder than `ca.dir`');
});

test('W7: the record is no other file of ours, defaults included', async () => {
  const said = await explain(`record: { file: ${dir}/revocations.json }`);
  for (const one of said) expect(one).toContain('4:17: record.file: is a file of `operator.revocations`');
});

test('W7: a file that holds no revocations is none to be removed', async () => {
  writeFileSync(join(dir, 'held'), '{"seq":1}\n');
  writeFileSync(
    file,
    `version: 1
agent: { name: a }
identity: none
ca: { dir: ${dir}/ca, publish: ${dir}/trust }
listen: { outbound: 127.0.0.1:0, metrics: 127.0.0.1:0, health: 127.0.0.1:0 }
operator: { socket: ${dir}/s, revocations: ${dir}/held }
record: { file: ${dir}/events }
`,
  );
  const { code, stderr } = await runWaybill(['run', '--config', file], { env });
  expect([code, stderr]).toEqual([64, expect.stringContaining(`${dir}/held cannot be read as the file of`)]);
  expect(stderr).not.toMatch(/remove|delete/);
});
