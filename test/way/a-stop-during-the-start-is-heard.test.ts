import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running } from '../stage/command-line.ts';

/** As in a container: the kernel keeps signals from the first process of a namespace that has no handler for them. */
const asFirst = ['--pid', '--fork', '--mount-proc', '--kill-child'];
const canBeFirst = process.platform === 'linux' && spawnSync('unshare', [...asFirst, 'true']).status === 0;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-first-'));
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

function runFirst(file: string, env: NodeJS.ProcessEnv = process.env): Running {
  return new Running('unshare', [...asFirst, process.execPath, launcher, 'run', '--config', file], { env });
}

/** Its id outside of the namespace. */
function firstOf({ child: { pid } }: Running): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'));
}

/** It sends the signal to itself when the file of this name is loaded, which takes some time then, as on a machine that is busy. */
function signalAtLoadOf(name: string, signal: string): NodeJS.ProcessEnv {
  const hook = `import { registerHooks } from 'node:module';
    registerHooks({ load(url, context, next) {
      const loaded = next(url, context);
      if (!url.endsWith('${name}')) return loaded;
      process.kill(process.pid, '${signal}');
      return { ...loaded, source: 'await new Promise((done) => setTimeout(done, 300));' + loaded.source };
    } });`;
  return { ...process.env, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hook)}` };
}

test.for([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)(
  '%s ends the first process of a container before it has read its configuration',
  async ([signal, code], context) => {
    if (!canBeFirst) context.skip('no namespace of processes can be made here');
    writeFileSync(join(folder, 'waybill.yaml'), config());
    const running = runFirst(join(folder, 'waybill.yaml'), signalAtLoadOf('/cli/run.ts', signal));
    expect(await running.finished).toMatchObject({ code, stderr: '' });
  },
);

test('while it reads its configuration it hears the signal too, and closes in order', async (context) => {
  if (!canBeFirst) context.skip('no namespace of processes can be made here');
  const pipe = join(folder, 'waybill.yaml');
  execFileSync('mkfifo', [pipe]);
  const running = runFirst(pipe);
  // It opens when the other end is opened, too.
  const file = await open(pipe, 'w');
  process.kill(firstOf(running), 'SIGTERM');
  await file.writeFile(config());
  await file.close();
  expect(await running.finished).toMatchObject({ code: 0 });
});

test('where it runs, the signal stops it as ever', async (context) => {
  if (!canBeFirst) context.skip('no namespace of processes can be made here');
  writeFileSync(join(folder, 'waybill.yaml'), config());
  const running = runFirst(join(folder, 'waybill.yaml'));
  await running.ready();
  process.kill(firstOf(running), 'SIGTERM');
  const { code, stderr } = await running.finished;
  expect([code, stderr.includes('"msg":"stopped"')]).toEqual([0, true]);
});
