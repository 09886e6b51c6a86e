import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running, runWaybill } from '../stage/command-line.ts';
import { freePort } from '../stage/free-port.ts';

let dir: string;
let file: string;
let env: NodeJS.ProcessEnv;
let sidecar: Running;

const textOf = (health: number, agent = 'name') => `version: 1
agent: { ${agent}: a }
identity: none
listen: { outbound: 127.0.0.1:0, metrics: 127.0.0.1:0, health: 127.0.0.1:${health} }
ca: { dir: ${dir}/ca, publish: ${dir}/trust }
operator: { socket: ${dir}/operator.sock }
record: { file: ${dir}/events.jsonl }
`;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wb-unwell-'));
  file = join(dir, 'waybill.yaml');
  env = { ...process.env, XDG_RUNTIME_DIR: dir };
  writeFileSync(file, textOf(0));
  sidecar = new Running(process.execPath, [launcher, 'run', '--config', file], { env });
  await sidecar.ready();
});
afterEach(() => {
  killRemaining();
  rmSync(dir, { recursive: true });
});

const ask = (...args: string[]) => runWaybill([...args, '--config', file], { env });

test('the sidecar is asked where it listens, whatever the file says by now', async () => {
  // Port 0: only the sidecar itself knows it.
  expect(await ask('health')).toMatchObject({ code: 0, stderr: '' });
  writeFileSync(file, textOf(0, 'nam'));
  expect(await ask('health')).toMatchObject({ code: 0, stderr: '' });
  // Good, and not taken, since where it listens is settled at the start.
  writeFileSync(file, textOf(await freePort()));
  expect(await ask('health')).toMatchObject({ code: 0, stderr: '' });
  rmSync(file);
  expect(await ask('health')).toMatchObject({ code: 0, stderr: '' });
});

test('one that ended is not well, however it ended, and the file says where the next would be', async () => {
  writeFileSync(file, textOf(await freePort()));
  sidecar.child.kill('SIGKILL');
  await sidecar.finished;
  expect(await ask('health')).toMatchObject({ code: 69, stderr: expect.stringContaining('no sidecar answers') });
  writeFileSync(file, textOf(0, 'nam'));
  expect((await ask('health')).code).toBe(64);
});

test.each([['revoke', '--all', '--reason', 'x'], ['tasks', 'list'], ['inventory']])(
  '%s says how the sidecar is reached without the file',
  async (...args) => {
    writeFileSync(file, textOf(0, 'nam'));
    const { code, stderr } = await ask(...args);
    expect([code, stderr]).toEqual([64, expect.stringContaining(`--socket ${dir}/operator.sock\n`)]);
    expect(stderr).toContain(`${file}:2:`);
    expect((await runWaybill([...args, '--socket', `${dir}/operator.sock`], { env })).code).toBe(0);
  },
);
