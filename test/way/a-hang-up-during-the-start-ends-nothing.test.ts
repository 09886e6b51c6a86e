import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running } from '../stage/command-line.ts';

let folder: string;
let pipe: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-hup-'));
  pipe = join(folder, 'waybill.yaml');
  execFileSync('mkfifo', [pipe]);
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

const config = (): string => `version: 1
agent: { name: agent }
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: ${folder}/operator.sock }
ca: { dir: ${folder}/ca, publish: ${folder}/trust }
record: { file: ${folder}/events.jsonl }
`;

/** Sends SIGHUP while the command waits for its configuration, which comes from a pipe, and hands that over. */
async function hangUpAtOnce(args: readonly string[]): Promise<Running> {
  const running = new Running(process.execPath, [launcher, ...args]);
  // It opens when the other end is opened, too.
  const file = await open(pipe, 'w');
  running.child.kill('SIGHUP');
  await file.writeFile(config()).catch(() => undefined);
  await file.close();
  return running;
}

test('a sidecar that is told to reload before it has read its configuration starts all the same', async () => {
  const running = await hangUpAtOnce(['run', '--config', pipe]);
  await running.ready();
  running.child.kill('SIGTERM');
  expect(await running.finished).toMatchObject({ code: 0, signal: null });
});

test.each([
  ['run with a command, whose terminal has gone', ['run', '--config'], ['--', 'true']],
  ['another command', ['validate', '--config'], []],
])('it still ends %s', async (_name, command, rest) => {
  const running = await hangUpAtOnce([...command, pipe, ...rest]);
  expect(await running.finished).toMatchObject({ code: null, signal: 'SIGHUP' });
});
