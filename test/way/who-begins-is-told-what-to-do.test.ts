import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runWaybill, type Finished } from '../stage/command-line.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-first-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const run = (...args: string[]): Promise<Finished> => runWaybill(args, { cwd: folder });

test('in a folder without a configuration: which file is missing, and where there is one to begin with', async () => {
  for (const args of [['run'], ['run', '--', 'true'], ['validate'], ['doctor']]) {
    const { code, stdout, stderr } = await run(...args);
    expect(code, args.join(' ')).toBe(64);
    expect(`${stdout}${stderr}`).toMatch(
      /waybill\.yaml:1:1: cannot be read: there is no such file here; name one with --config FILE, .*README\.md/,
    );
  }
  // Who named one knows that.
  expect((await run('doctor', '--config', 'mine.yaml')).stdout).toMatch(
    /^failed +config +mine\.yaml:1:1: cannot be read: there is no such file$/m,
  );
});

test('a command that cannot be started is told in one sentence, whatever the system calls it', async () => {
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
  symlinkSync('round', join(folder, 'round'));
  for (const [command, told] of [
    // As of a variable that is not set.
    ['', 'a command is missing behind --'],
    ['./waybill.yaml/agent', './waybill.yaml/agent cannot be started (ENOTDIR)'],
    ['./round', './round cannot be started (ELOOP)'],
    ['./nowhere', './nowhere cannot be started (ENOENT)'],
  ] as const) {
    const { code, stderr } = await run('run', '--', command);
    expect(code, command).toBe(64);
    expect(stderr).toMatch(new RegExp(`^waybill run: ${RegExp.escape(told)}\n`, 'm'));
    expect(stderr).not.toContain('fault');
  }
});

test('of a place that is relative it is told where it was looked for', async () => {
  const { code, stderr } = await run('tasks', 'list', '--socket', 'operator.sock');
  expect(code).toBe(69);
  expect(stderr).toContain(`no sidecar answers at ${folder}/operator.sock (ENOENT)`);
});
