import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { makeFile } from '../../proxy/intercept/whole-file.ts';

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  return { ...real, linkSync: vi.fn<typeof real.linkSync>(real.linkSync) };
});

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-made-'));
});
afterEach(() => {
  vi.mocked(fs.linkSync).mockReset();
  rmSync(dir, { recursive: true });
});

const made = (): readonly unknown[] => {
  const file = join(dir, 'ca.key');
  return [readFileSync(file, 'utf8'), statSync(file).mode & 0o777, readdirSync(dir)];
};

test('the first one stays, and nothing is left beside it', () => {
  for (const content of ['first', 'second']) makeFile(join(dir, 'ca.key'), content, 0o600);
  expect(made()).toEqual(['first', 0o600, ['ca.key']]);
});

test.each(['EPERM', 'ENOTSUP', 'ENOSYS'])('so it is made where a file has one name only (%s)', (code) => {
  vi.mocked(fs.linkSync).mockImplementation(() => {
    throw Object.assign(new Error(code), { code });
  });
  makeFile(join(dir, 'ca.key'), 'content', 0o600);
  expect(made()).toEqual(['content', 0o600, ['ca.key']]);
});

test('another failure is told, and leaves nothing', () => {
  vi.mocked(fs.linkSync).mockImplementation(() => {
    throw Object.assign(new Error('EIO: i/o error, link'), { code: 'EIO' });
  });
  expect(() => makeFile(join(dir, 'ca.key'), 'content', 0o600)).toThrow(
    `EIO: i/o error, link '${join(dir, 'ca.key')}'`,
  );
  expect(readdirSync(dir)).toEqual([]);
});
