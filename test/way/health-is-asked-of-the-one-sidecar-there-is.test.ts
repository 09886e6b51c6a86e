import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { killRemaining, launcher, Running, runWaybill, type CommandOptions } from '../stage/command-line.ts';

vi.setConfig({ testTimeout: 60_000 });

// Root's run folder is that of the system, where others may run.
const nobody = 65_534;
const isRoot = process.getuid?.() === 0;
let top: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'wb-one-'));
  mkdirSync(join(top, 'elsewhere'));
  chmodSync(top, 0o755);
  if (isRoot) chownSync(top, nobody, nobody);
});
afterEach(() => {
  killRemaining();
  rmSync(top, { recursive: true });
});

/** As a user with a run folder of his own, in a folder without a configuration: so a health check of a container may stand. */
const options = (): CommandOptions => ({
  env: { PATH: process.env['PATH'] ?? '', XDG_RUNTIME_DIR: top, XDG_STATE_HOME: top },
  cwd: join(top, 'elsewhere'),
  ...(isRoot ? { uid: nobody, gid: nobody } : {}),
});

const askHealth = (...more: string[]) => runWaybill(['health', ...more], options());

const words = (): string[] =>
  existsSync(join(top, 'waybill')) ? readdirSync(join(top, 'waybill')).filter((name) => name.endsWith('.json')) : [];

async function start(name: string, identity = 'none'): Promise<Running> {
  const file = join(top, `${name}.yaml`);
  const places = join(top, name);
  writeFileSync(
    file,
    `version: 1
agent: { name: bot }
identity: ${identity}
listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' }
ca: { dir: ${places}/ca, publish: ${places}/trust }
operator: { socket: ${places}.sock }
record: { file: ${places}/events.jsonl }
`,
  );
  const running = new Running(process.execPath, [launcher, 'run', '--config', file], options());
  await running.ready();
  // Its word comes a moment after that line.
  const own = `"pid":${running.child.pid},`;
  const contents = (): readonly string[] => words().map((word) => readFileSync(join(top, 'waybill', word), 'utf8'));
  await eventually('it has left word', () => contents().some((content) => content.includes(own)));
  return running;
}

test('without a configuration there, the one sidecar that runs is asked, whatever it was started with', async () => {
  const sidecar = await start('of-its-own');
  expect(await askHealth()).toMatchObject({ code: 0, stderr: '' });
  sidecar.child.kill('SIGKILL');
  await sidecar.finished;
  const { code, stderr } = await askHealth();
  expect([code, stderr]).toEqual([69, expect.stringMatching(/no sidecar answers.*--config/s)]);
});

test('one that is not ready is told as such', async () => {
  await start('of-its-own', `{ workload_api: 'unix://${top}/none.sock' }`);
  expect(await askHealth()).toMatchObject({ code: 1, stdout: expect.stringContaining('no SVID') as string });
});

test('of two it takes none, and says how one is named', async () => {
  await start('first');
  await start('second');
  const { code, stderr } = await askHealth();
  expect([code, stderr]).toEqual([64, expect.stringMatching(/2 sidecars run.*--config/s)]);
  expect((await askHealth('--config', join(top, 'first.yaml'))).code).toBe(0);
});

// In a container the sidecar is process 1 each time, and the run folder may outlive it.
test.skipIf(process.platform !== 'linux')(
  'one that was killed is not counted, though another process has its number by now',
  async () => {
    const sidecar = await start('of-its-own');
    const [name = ''] = words();
    const word = JSON.parse(readFileSync(join(top, 'waybill', name), 'utf8')) as object;
    sidecar.child.kill('SIGKILL');
    await sidecar.finished;
    // Its word, as if its number had been given to this process.
    const left = join(top, 'waybill', 'running-0123456789abcdef.json');
    writeFileSync(left, JSON.stringify({ ...word, pid: process.pid }), { mode: 0o600 });
    if (isRoot) chownSync(left, nobody, nobody);
    expect(await askHealth()).toMatchObject({ code: 69, stderr: expect.stringContaining('none left word') as string });
    await start('second');
    expect(await askHealth()).toMatchObject({ code: 0, stderr: '' });
    expect(words()).not.toContain('running-0123456789abcdef.json');
  },
);

test('a configuration that is there, or that is named, is the one that is meant', async () => {
  await start('of-its-own');
  expect((await askHealth('--config', join(top, 'none.yaml'))).code).toBe(64);
  writeFileSync(
    join(top, 'elsewhere', 'waybill.yaml'),
    "version: 1\nagent: { name: x }\nlisten: { health: '127.0.0.1:0' }\n",
  );
  expect((await askHealth()).code).toBe(69);
});

test('a run folder that others can write is not believed', async () => {
  await start('of-its-own');
  chmodSync(join(top, 'waybill'), 0o777);
  expect(await askHealth()).toMatchObject({ code: 69, stderr: expect.stringContaining('another user') as string });
});
