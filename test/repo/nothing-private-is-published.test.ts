import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { listFiles, readSource, root } from './sources.ts';

const texts = listFiles().filter((path) => !/\.(png|jpe?g|gif|ico|woff2?|gz|tgz|p12)$/.test(path));
const published = texts.filter((path) => path !== 'package-lock.json');

/** Paths of the machine where this was written. Spelled so that this file does not hold what it looks for. */
const machinePath = /(^|[\s"'`(=:])\/wor[k]\//m;

test('no package registry is named', () => {
  const registry = execFileSync('npm', ['config', 'get', 'registry'], { cwd: root, encoding: 'utf8' }).trim();
  const { host } = new URL(registry);
  expect(published.filter((path) => readSource(path).includes(host))).toEqual([]);
});

test('the lock records no download address', () => {
  expect(readSource('package-lock.json')).not.toContain('"resolved"');
  expect(readSource('.npmrc')).toMatch(/^omit-lockfile-registry-resolved=true$/m);
});

test('no path of the machine where this was written is named', () => {
  expect(published.filter((path) => machinePath.test(readSource(path)))).toEqual([]);
});

test('the docs name no temporary folder of a machine', () => {
  const docs = published.filter((path) => /\.(md|ya?ml)$/.test(path));
  expect(docs.filter((path) => readSource(path).includes('/tmp/'))).toEqual([]);
});

test('no private key is kept in the repository', () => {
  const key = /-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{16}/;
  expect(texts.filter((path) => key.test(readSource(path)))).toEqual([]);
});
