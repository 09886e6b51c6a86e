import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { descendsFrom, isSameProcess, parseStat, readProcess } from '../../proxy/tasks/process.ts';

/** A line of /proc/<pid>/stat with this name, parent and start. */
const stat = (pid: number, name: string, parent: number, start: number): string =>
  `${pid} (${name}) S ${parent} 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 ${start} 99 100 18446744073709551615 0 0\n`;

test.each(['node', 'a b', ') S 1 7 7 (', ')', '((((', '1) R 2', 'x\n2 (y) S 1 1', ''])(
  'whatever a process calls itself (%j), parent and start are read behind it',
  (name) => {
    expect(parseStat(stat(4711, name, 12, 345_678))).toEqual({ pid: 4711, parent: 12, start: '345678' });
  },
);

test('what is no such line is nobody', () => {
  for (const text of ['', 'x', '1 (a)', '1 (a) S', '1 a S 1 7', '(a) S 1 2', stat(1, 'a', 1, 2).slice(0, 40)])
    expect([text, parseStat(text)]).toEqual([text, undefined]);
});

test('a pid that was given out again is another process', () => {
  const one = { pid: 4711, start: '100' };
  expect(isSameProcess(one, { pid: 4711, start: '100' })).toBe(true);
  expect(isSameProcess(one, { pid: 4711, start: '101' })).toBe(false);
  expect(isSameProcess(one, { pid: 4712, start: '100' })).toBe(false);
});

describe.runIf(process.platform === 'linux')('real processes', () => {
  test('are read with their executable, until they end', async () => {
    const own = readProcess(process.pid);
    expect(own?.executable.path).toBe(realpathSync(process.execPath));
    const child = spawn('sleep', ['10']);
    await once(child, 'spawn');
    const { pid = 0 } = child;
    const seen = readProcess(pid)!;
    expect(descendsFrom(pid, own!)).toBe(true);
    expect(descendsFrom(process.pid, seen)).toBe(false);
    // A process of the same pid, from before.
    expect(descendsFrom(pid, { ...own!, start: String(Number(own!.start) - 1) })).toBe(false);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect([readProcess(pid), descendsFrom(pid, own!)]).toEqual([undefined, false]);
  });
});
