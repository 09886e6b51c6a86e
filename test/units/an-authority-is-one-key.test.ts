import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openPodCa } from '../../proxy/intercept/pod-ca.ts';

const startMs = Date.UTC(2026, 2, 1);
const dayMs = 86_400_000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-key-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const openAt = async (nowMs: number): Promise<X509Certificate> => {
  const opened = await openPodCa({ caDir: join(dir, 'ca'), caPublish: join(dir, 'trust') }, () => nowMs);
  return new X509Certificate(opened.certificate);
};
const kept = (name: string): string => readFileSync(join(dir, 'ca', name), 'utf8');

test('of several that open it at once, all hold the certificate that is kept', async () => {
  const all = await Promise.all(Array.from({ length: 6 }, () => openAt(startMs)));
  expect(new Set(all.map(({ raw }) => raw.toString('hex'))).size).toBe(1);
  expect(all[0]!.raw).toEqual(new X509Certificate(kept('ca.pem')).raw);
});

test('a certificate that ends is replaced for the same key and name, by whomever', async () => {
  const before = await openAt(startMs);
  expect((await openAt(startMs + 363 * dayMs)).raw).toEqual(before.raw);
  const key = kept('ca.key');
  const after = await Promise.all([1, 2, 3].map(() => openAt(startMs + 364.5 * dayMs)));
  expect(kept('ca.key')).toBe(key);
  for (const one of after) {
    expect(Date.parse(one.validTo)).toBeGreaterThan(startMs + 700 * dayMs);
    expect([one.subject, one.publicKey.equals(before.publicKey)]).toEqual([before.subject, true]);
  }
});

test('a key alone is gone on with; a certificate alone is not', async () => {
  const first = await openAt(startMs);
  rmSync(join(dir, 'ca/ca.pem'));
  const second = await openAt(startMs);
  expect([second.subject, second.publicKey.equals(first.publicKey)]).toEqual([first.subject, true]);
  rmSync(join(dir, 'ca/ca.key'));
  const third = await openAt(startMs);
  expect(third.publicKey.equals(second.publicKey)).toBe(false);
  expect(third.raw).toEqual(new X509Certificate(kept('ca.pem')).raw);
});

test('a link that leads nowhere is told', async () => {
  await openAt(startMs);
  rmSync(join(dir, 'ca/ca.pem'));
  symlinkSync('nowhere', join(dir, 'ca/ca.pem'));
  await expect(openAt(startMs)).rejects.toThrow(/ca\.pem leads nowhere.*; restore both/);
  expect(existsSync(join(dir, 'ca/nowhere'))).toBe(false);
  rmSync(join(dir, 'ca/ca.key'));
  writeFileSync(join(dir, 'ca/ca.key'), '');
  await expect(openAt(startMs)).rejects.toThrow(/ca\.key cannot be read/);
});
