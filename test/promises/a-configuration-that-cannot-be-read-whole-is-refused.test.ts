import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running, runWaybill } from '../stage/command-line.ts';
import { heard } from '../stage/config-edit.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-whole-'));
const file = join(dir, 'waybill.yaml');
let stage: Stage | undefined;

afterEach(async () => {
  await stage?.close();
  stage = undefined;
});
afterAll(() => {
  killRemaining();
  rmSync(dir, { recursive: true });
});

const text = `version: 1
agent: { name: a }
rules:
  - { name: all, effect: allow, when: "true" }
  - { name: no-payroll, effect: deny, when: 'call.path.startsWith("/gehälter")' }
`;

test.each([
  ['Latin-1', Buffer.from(text, 'latin1'), '5:72'],
  ['UTF-16', Buffer.from(`\ufeff${text}`, 'utf16le'), '1:1'],
  // The sign for what cannot be read is a sign like any other, where it is written.
  ['half of a sign', Buffer.concat([Buffer.from(`${text}# \ufffd\ufffd é`), Buffer.from([0xef, 0xbf])]), '6:7'],
])('W1: a file in %s is told where it begins to be none in UTF-8', async (_name, bytes, place) => {
  writeFileSync(file, bytes);
  for (const command of ['validate', 'run']) {
    const { code, stderr } = await runWaybill([command, '--config', file]);
    expect([code, stderr.split('\n')[0]]).toEqual([
      64,
      `${file}:${place}: is not UTF-8 from here on; save the file as UTF-8`,
    ]);
  }
});

test('the same rule in UTF-8 is good, and so is a sign that stands for others', async () => {
  writeFileSync(file, `${text}# \ufffd\n`);
  expect((await runWaybill(['validate', '--config', file])).code).toBe(0);
});

test('W1: a running sidecar takes none either, and goes on by the one before', async () => {
  stage = await openStage({ tools: { crm: { port: 1, token: false } } });
  const running = join(stage.dir, 'waybill.yaml');
  const said = await heard(stage, () => appendFileSync(running, Buffer.from('# ä', 'latin1')));
  expect(said['event']).toBe('config.rejected');
  expect((await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', {})).code).not.toBe(
    'denied_by_rule',
  );
});

/** The most memory that a process ever had, MiB. */
const peakOf = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

test('a running sidecar reads no more than a configuration may have, and waits for no pipe', async () => {
  const { sidecar, dir: own } = (stage = await openStage({ tools: { crm: { port: 1, token: false } } }));
  const running = join(own, 'waybill.yaml');
  const good = readFileSync(running, 'utf8');
  const before = peakOf(sidecar.pid);
  const passes = async () => (await callThrough(sidecar.addresses.outbound, 'http://crm.test/x', {})).code;
  // As large as a disk, of which nothing is written.
  const huge = await heard(stage, () => truncateSync(running, 2 ** 36));
  expect(huge['event']).toBe('config.rejected');
  expect(peakOf(sidecar.pid) - before).toBeLessThan(64);
  for (const put of [() => void execFileSync('mkfifo', [running]), () => mkdirSync(running)]) {
    rmSync(running, { recursive: true });
    expect((await heard(stage, put))['event']).toBe('config.rejected');
    process.kill(sidecar.pid, 'SIGHUP');
    expect(await passes()).toBe('upstream_unreachable');
  }
  rmSync(running, { recursive: true });
  expect((await heard(stage, () => writeFileSync(running, good)))['event']).toBe('config.reloaded');
});

test('at the start a pipe is as good as a file, and no larger', async () => {
  const pipe = join(dir, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const through = (content: string): Running =>
    new Running('/bin/sh', [
      '-c',
      `${content} > '${pipe}' & exec "$0" "$@"`,
      process.execPath,
      launcher,
      'run',
      '--config',
      pipe,
    ]);
  writeFileSync(
    file,
    `version: 1
agent: { name: a }
identity: none
listen: { outbound: 127.0.0.1:0, metrics: 127.0.0.1:0, health: 127.0.0.1:0 }
ca: { dir: ${dir}/ca, publish: ${dir}/trust }
operator: { socket: ${dir}/s }
record: { file: ${dir}/events }
`,
  );
  const sidecar = through(`(head -c 40 '${file}'; sleep 1; tail -c +41 '${file}')`);
  const { pid } = await sidecar.ready();
  await sleep(1500);
  expect(sidecar.stderr).not.toContain('not taken');
  process.kill(pid, 'SIGTERM');
  await sidecar.finished;
  const { code, stderr } = await through('yes').finished;
  expect([code, stderr]).toEqual([64, `${pipe}:1:1: is larger than 1 MiB\n`]);
});

test('W1: a pipe that nobody writes to is refused in seconds, and whoever comes late is waited for', async () => {
  const pipe = join(dir, 'silent');
  execFileSync('mkfifo', [pipe]);
  const commands = [['validate'], ['doctor'], ['run'], ['run', '--', 'true']];
  const all = commands.map(async ([command = '', ...more]) => runWaybill([command, '--config', pipe, ...more]));
  for (const { code, stdout, stderr } of await Promise.all(all))
    expect([code, stdout + stderr]).toEqual([
      64,
      expect.stringContaining('1:1: cannot be read: nobody writes to this pipe'),
    ]);
  const late = runWaybill(['validate', '--config', pipe]);
  await sleep(1500);
  const writer = new Running('/bin/sh', ['-c', `(echo 'version: 1'; sleep 1; echo 'agent: { name: a }') > '${pipe}'`]);
  expect((await late).code).toBe(0);
  await writer.finished;
});

test('of a pipe that somebody writes to again and again, one text is read', async () => {
  const pipe = join(dir, 'again');
  execFileSync('mkfifo', [pipe]);
  // As those do who hand out a secret with each reading.
  const content = `(printf 'version: 1\\nagent: { name: a }\\n'; sleep 0.003)`;
  const loop = `while :; do ${content} > '${pipe}'; sleep 0.006; done`;
  const writer = new Running('/bin/sh', ['-c', loop], { detached: true });
  const runs = [];
  for (let at = 0; at < 5; at += 1) runs.push(await runWaybill(['validate', '--config', pipe]));
  // With the one of its children that waits for a reader.
  process.kill(-(writer.child.pid ?? 0), 'SIGKILL');
  // Now and then a machine that has much to do lets both write before it lets us read.
  expect(runs.filter(({ code }) => code === 0).length).toBeGreaterThan(2);
});

test('an end of a pipeline that wrote nothing is told at once', async () => {
  const begun = Date.now();
  const { code, stderr } = await new Running('/bin/sh', [
    '-c',
    'true | exec "$0" "$@"',
    process.execPath,
    launcher,
    'validate',
    '--config',
    '/dev/stdin',
  ]).finished;
  expect([code, stderr.split('\n')[0]]).toEqual([64, expect.stringMatching(/^\/dev\/stdin:1:1: is empty/)]);
  expect(Date.now() - begun).toBeLessThan(4000);
});

test('of very many errors the first are told, and how many there are', async () => {
  writeFileSync(file, `${text}${Array.from({ length: 5000 }, (_, at) => `k${at}: 1\n`).join('')}`);
  const { code, stderr } = await runWaybill(['validate', '--config', file]);
  const lines = stderr.trimEnd().split('\n');
  expect([code, lines.length, ...lines.slice(-2)]).toEqual([64, 102, `${file}: and 4900 more`, '5000 errors']);
  const { errors, more } = JSON.parse((await runWaybill(['validate', '--json', '--config', file])).stdout) as {
    errors: readonly unknown[];
    more: number;
  };
  expect([errors.length, more]).toEqual([100, 4900]);
});
