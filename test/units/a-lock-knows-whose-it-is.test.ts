import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { takeLock } from '../../proxy/steward/file-lock.ts';

let dir: string;
let path: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-lock-'));
  path = join(dir, 'lock');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('one that somebody took for a left one is no more ours, and stays his, whatever the file system gives him', () => {
  const lock = takeLock(path);
  expect(lock.isOurs()).toBe(true);
  // Many file systems give the number of a removed file to the next one.
  rmSync(path);
  const his = takeLock(path);
  expect([lock.isOurs(), his.isOurs()]).toEqual([false, true]);
  lock.release();
  expect(his.isOurs()).toBe(true);
  his.release();
  expect(existsSync(path)).toBe(false);
});

test('one of a process that is gone is taken at once', () => {
  // Above the highest id that Linux gives.
  writeFileSync(path, '4194305 left');
  const startedAt = performance.now();
  expect(takeLock(path).isOurs()).toBe(true);
  expect(performance.now() - startedAt).toBeLessThan(1000);
  expect(readFileSync(path, 'utf8').startsWith(`${process.pid} `)).toBe(true);
});
