import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
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

/** It sends SIGHUP to itself when it loads this, and it takes some time then. By then it has read its configuration. */
const hangUpAtIdentity = `import { registerHooks } from 'node:module';
  registerHooks({ load(url, context, next) {
    const loaded = next(url, context);
    if (!url.endsWith('/spiffe/workload-api.ts')) return loaded;
    process.kill(process.pid, 'SIGHUP');
    return { ...loaded, source: 'await new Promise((done) => setTimeout(done, 300));' + loaded.source };
  } });`;

test('one that is told to later in its start does it when it has started, and says so', async () => {
  const file = join(folder, 'plain.yaml');
  writeFileSync(file, `${config()}identity: { workload_api: "unix://${folder}/none.sock" }\n`);
  const running = new Running(process.execPath, [launcher, 'run', '--config', file], {
    env: { ...process.env, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hangUpAtIdentity)}` },
  });
  await running.ready();
  await eventually('it was reloaded', () =>
    readFileSync(join(folder, 'events.jsonl'), 'utf8').includes('"config.reloaded"'),
  );
  expect(running.stderr).toContain('the configuration is unchanged; the files that it names were read anew');
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
