import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, runWaybill, type Finished } from '../stage/command-line.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-apart-'));
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

/** A command that leaves word that it ran, and prints a line as the record has them. */
const forger = ['run', '--', 'sh', '-c', 'touch ran; echo \'{"seq":2,"event":"call.ended"}\'; exit 7'];

function write(record: object): void {
  const settings = {
    version: 1,
    agent: { name: 'agent' },
    listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
    operator: { socket: join(folder, 'operator.sock'), revocations: join(folder, 'revocations.json') },
    ca: { dir: join(folder, 'ca'), publish: join(folder, 'trust') },
    record,
  };
  writeFileSync(join(folder, 'waybill.yaml'), JSON.stringify(settings));
}

const runForger = (): Promise<Finished> => runWaybill(forger, { cwd: folder });

test.for([
  { stdout: true },
  { file: '/dev/stdout' },
  { file: '/proc/self/fd/1' },
  { file: '/dev/fd/1', stdout: true },
  { file: '/dev/stderr' },
])('W7: a record that the command would inherit is refused before it starts: %o', async (record) => {
  write(record);
  const { code, stdout, stderr } = await runForger();
  expect([code, stdout, existsSync(join(folder, 'ran'))]).toEqual([64, '', false]);
  expect(stderr).toMatch(/the record is standard (?:output|error).*name a file in record\.file/);
});

test('W7: so is a file that standard output was redirected to', async () => {
  const file = join(folder, 'events.jsonl');
  write({ file });
  const fd = openSync(file, 'a');
  const child = spawn(process.execPath, [launcher, ...forger], { cwd: folder, stdio: ['ignore', fd, 'ignore'] });
  closeSync(fd);
  const [code] = (await once(child, 'close')) as [number];
  expect([code, readFileSync(file, 'utf8')]).toEqual([64, '']);
});

test('beside a file, standard output stays that of the command, and the log says which of both to believe', async () => {
  const file = join(folder, 'events.jsonl');
  write({ file, stdout: true });
  const { code, stdout, stderr } = await runForger();
  expect(code).toBe(7);
  expect(stdout).toContain('call.ended');
  expect(readFileSync(file, 'utf8')).not.toContain('call.ended');
  expect(stderr).toContain('believe record.file alone');
  const verified = await runWaybill(['events', 'verify', file]);
  expect(verified.code).toBe(0);
});

test('what goes to /dev/null is read by nobody, whoever writes it', async () => {
  write({ file: '/dev/null' });
  const child = spawn(process.execPath, [launcher, ...forger], { cwd: folder, stdio: 'ignore' });
  expect((await once(child, 'close'))[0]).toBe(7);
});
