import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { killRemaining, launcher, runWaybill, Running } from '../stage/command-line.ts';

let folder: string;
let lines: readonly string[];

/** A sidecar whose record is standard output, with its log beside it: what `kubectl logs` shows of one. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-among-'));
  writeFileSync(
    join(folder, 'waybill.yaml'),
    `version: 1
agent: { name: agent }
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: ${folder}/operator.sock }
ca: { dir: ${folder}/ca, publish: ${folder}/trust }
record: { stdout: true }
`,
  );
  const both = join(folder, 'both.log');
  const running = new Running('sh', ['-c', 'exec "$0" "$1" run >both.log 2>&1', process.execPath, launcher], {
    cwd: folder,
  });
  // The shell has to come to it first.
  const hasSaid = (text: string) =>
    eventually(text, () => existsSync(both) && readFileSync(both, 'utf8').includes(text), 15_000);
  await hasSaid('"msg":"ready"');
  running.child.kill('SIGHUP');
  await hasSaid('"event":"config.reloaded"');
  await hasSaid('the configuration is unchanged');
  running.child.kill('SIGTERM');
  await running.finished;
  lines = readFileSync(both, 'utf8').trimEnd().split('\n');
});
afterAll(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

const isLog = (line: string): boolean => line.startsWith('{"level":');

async function verify(some: readonly string[], ...args: string[]): Promise<{ code: number | null; stdout: string }> {
  const file = join(folder, 'some.jsonl');
  writeFileSync(file, some.map((line) => `${line}\n`).join(''));
  return runWaybill(['events', 'verify', file, ...args]);
}

test('lines of the log are passed over, and it is said how many', async () => {
  const logged = lines.filter(isLog).length;
  expect(logged).toBeGreaterThan(3);
  const { code, stdout } = await verify(lines);
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining(': whole') });
  expect(stdout).toContain(`${logged} lines of the process's log passed over`);
  const told = JSON.parse((await verify(lines, '--json')).stdout) as Record<string, unknown>;
  expect(told).toMatchObject({ ok: true, lines: lines.length - logged, passed_over: logged });
  const apart = await verify(lines.filter((line) => !isLog(line)));
  expect([apart.code, apart.stdout.includes('passed over')]).toEqual([0, false]);
});

const log = '{"level":30,"time":1,"name":"waybill","msg":"x"}';
const at = (): number => lines.findIndex((line) => line.includes('"event":"config.reloaded"'));

test.for<[what: string, change: (line: string) => readonly string[]]>([
  ['removed', () => []],
  ['put in the place of a line of the log', () => [log]],
  ['changed', (line) => [line.replace('"config":"', '"config":"0')]],
  ['made to look like a line of the log', (line) => [`{"level":30,"name":"waybill",${line.slice(1)}`]],
  ['put behind a line of another program', (line) => ['{"level":30,"time":1,"name":"other","msg":"x"}', line]],
  ['put behind a line with a level in words', (line) => ['{"level":"info","name":"waybill","msg":"x"}', line]],
  ['put behind a line of the log with a sequence', (line) => ['{"level":30,"name":"waybill","seq":2}', line]],
  ['put behind half a line of the log', (line) => [log.slice(0, -2), line]],
])('tampering is found: an event that was %s', async ([, change]) => {
  const { code, stdout } = await verify(lines.flatMap((line, index) => (index === at() ? change(line) : [line])));
  expect([code, stdout]).toEqual([1, expect.stringContaining('BROKEN')]);
});

test('a line of the log that broke off at the end is one of the log', async () => {
  const file = join(folder, 'broken-off.jsonl');
  const whole = lines.filter((line) => !isLog(line)).map((line) => `${line}\n`);
  const told = lines.find(isLog) ?? '';
  for (const length of [3, 11, 17, 30, 45, told.length - 1]) {
    writeFileSync(file, `${whole.join('')}${told.slice(0, length)}`);
    const { code, stdout } = await runWaybill(['events', 'verify', file, '--json']);
    expect([length, code, JSON.parse(stdout)]).toEqual([
      length,
      0,
      expect.objectContaining({ ok: true, passed_over: 1 }),
    ]);
  }
  // What is finished is a line like any other, and nobody writes half of one of another program.
  for (const end of ['{"level":30,"ti\n', '{"level":30,"time":1,"name":"other","m', '{"level":30,"name":"way']) {
    writeFileSync(file, `${whole.join('')}${end}`);
    expect([end, (await runWaybill(['events', 'verify', file])).code]).toEqual([end, 1]);
  }
  writeFileSync(file, told.slice(0, 40));
  expect((await runWaybill(['events', 'verify', file])).stdout).toContain('there is no line to check');
});

test('the log alone is no record', async () => {
  const { code, stdout } = await verify(lines.filter(isLog));
  expect([code, stdout]).toEqual([1, expect.stringContaining('there is no line to check')]);
});

test('a compressed record is not called a broken one', async () => {
  const file = join(folder, 'old.jsonl.1.gz');
  writeFileSync(file, gzipSync(`${lines.join('\n')}\n`));
  const { code, stdout, stderr } = await runWaybill(['events', 'verify', file]);
  expect([code, stdout, stderr]).toEqual([64, '', expect.stringMatching(/old\.jsonl\.1\.gz is compressed; .*first/)]);
});
