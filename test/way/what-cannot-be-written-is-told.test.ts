import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { killRemaining, launcher, Running } from '../stage/command-line.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-full-'));
  writeFileSync(
    join(folder, 'waybill.yaml'),
    `version: 1
agent: { name: agent, owner: tests }
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: ${folder}/operator.sock }
ca: { dir: ${folder}/ca, publish: ${folder}/trust }
record: { file: ${folder}/events.jsonl }
`,
  );
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

/** `waybill ARGS` with a redirection of the shell, such as to a device that is always full. */
function redirected(redirection: string, ...args: string[]): Running {
  const command = `exec "$0" "$@" ${redirection}`;
  return new Running('sh', ['-c', command, process.execPath, launcher, ...args], { cwd: folder });
}

test('a full disk under standard error costs messages, and neither the sidecar nor an exit code', async () => {
  const running = redirected('2>/dev/full', 'run');
  await eventually('it serves', () => existsSync(join(folder, 'operator.sock')));
  expect(await redirected('', 'tasks', 'list').finished).toMatchObject({ code: 0 });
  // One line more, while it runs.
  running.child.kill('SIGHUP');
  const record = join(folder, 'events.jsonl');
  await eventually('it has looked at its file', () => readFileSync(record, 'utf8').includes('config.reloaded'));
  expect(await redirected('', 'tasks', 'list').finished).toMatchObject({ code: 0 });
  running.child.kill('SIGTERM');
  expect(await running.finished).toMatchObject({ code: 0, signal: null });
  expect(await redirected('2>/dev/full', 'nonsense').finished).toMatchObject({ code: 64 });
  expect(await redirected('2>/dev/full', 'run', '--config', 'missing').finished).toMatchObject({ code: 64 });
  expect(await redirected('2>/dev/full', 'tasks', 'list').finished).toMatchObject({ code: 69 });
});

test('nor does a pipe under standard error that nobody empties stop it, as of who started it and reads no further', async () => {
  // `sleep` has it open and never reads.
  const full = 'mkfifo log; sleep 40 <log >/dev/null 2>&1 & exec 2>log; head -c 65500 /dev/zero >&2; exec "$0" "$@"';
  const running = new Running('sh', ['-c', full, process.execPath, launcher, 'run'], { cwd: folder });
  await eventually('it serves', () => existsSync(join(folder, 'operator.sock')));
  expect(await redirected('', 'tasks', 'list').finished).toMatchObject({ code: 0 });
  running.child.kill('SIGHUP');
  expect(await redirected('', 'tasks', 'list').finished).toMatchObject({ code: 0 });
  running.child.kill('SIGTERM');
  expect(await running.finished).toMatchObject({ code: 0, signal: null });
});

test('output that a full disk did not take is a fault, and told; a pipe that was closed is none', async () => {
  const running = redirected('', 'run');
  await running.ready();
  for (const args of [
    ['inventory', '--csv'],
    ['tasks', 'list', '--json'],
    ['validate'],
    ['run', '--help'],
    ['--version'],
  ]) {
    const { code, stderr } = await redirected('>/dev/full', ...args).finished;
    expect({ code, stderr }, args.join(' ')).toEqual({
      code: 70,
      stderr: 'waybill: what it printed could not be written (ENOSPC)\n',
    });
    const closed = await redirected('| true', ...args).finished;
    expect(closed, args.join(' ')).toMatchObject({ code: 0, stderr: '' });
  }
});
