import { existsSync } from 'node:fs';
import { join, posix } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { readSource } from '../repo/sources.ts';
import { PackedPackage } from '../stage/packed-package.ts';
import { findFloorNode } from './programs.ts';

let packed: PackedPackage;
/** Why it could not be installed. */
let obstacle: string | undefined;
let floor: string | undefined;
beforeAll(async () => {
  packed = new PackedPackage();
  obstacle = packed.install();
  floor = await findFloorNode();
});
afterAll(() => packed.remove());
/** A demo is ten processes. */
vi.setConfig({ testTimeout: 180_000 });

const { version } = JSON.parse(readSource('package.json')) as { version: string };

test('the package holds the program as JavaScript, its pages, and nothing that only a clone needs', () => {
  const { files } = packed;
  expect(files).toEqual(
    expect.arrayContaining(['LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'package.json', 'proxy/launch.js']),
  );
  const expected =
    /^(dist\/(proxy|config)\/.*\.js|dist\/proxy\/spiffe\/[^/]+\.d\.ts|config\/|[A-Z]+\.md$|proxy\/spiffe\/README\.md$)/;
  const others = files.filter((path) => !expected.test(path));
  expect(others.toSorted()).toEqual(['LICENSE', 'package.json', 'proxy/launch.js']);
  expect(files.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))).toEqual([]);
});

test('its pages link to what it holds, and say the rest in words', () => {
  for (const page of packed.files.filter((path) => path.endsWith('.md'))) {
    const links = [...packed.read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)].map(([, to = '']) => to);
    const absent = links.filter((to) => !packed.files.includes(posix.normalize(posix.join(posix.dirname(page), to))));
    expect(absent, page).toEqual([]);
  }
  expect(packed.read('README.md')).toContain('ARCHITECTURE.md: both ways');
  expect(packed.read('README.md')).toContain('[config/settings.md](config/settings.md)');
});

test('packing leaves package.json and the pages of the clone as they were', () => {
  expect(packed.manifestAfter).toBe(readSource('package.json'));
  expect(packed.readmeAfter).toBe(readSource('README.md'));
});

test('a project that installs it keeps its own Node.js', (context) => {
  if (obstacle !== undefined) context.skip(`npm could not install it: ${obstacle}`);
  const modules = join(packed.project, 'node_modules');
  expect(existsSync(join(modules, '.bin', 'waybill'))).toBe(true);
  expect(existsSync(join(modules, '.bin', 'node'))).toBe(false);
  for (const tool of ['vitest', 'typescript', 'oxlint']) expect(existsSync(join(modules, tool)), tool).toBe(false);
});

describe.each(['the floor of engines', 'the pinned Node.js'])('under %s', (name) => {
  /** Skips where a part cannot be had. */
  function findNode(skip: (reason: string) => never): string {
    if (obstacle !== undefined) skip(`npm could not install it: ${obstacle}`);
    return (name === 'the floor of engines' ? floor : process.execPath) ?? skip('Node.js 24 cannot be had from npm');
  }

  test('waybill --version and waybill demo --ci work, on that Node.js', (context) => {
    const node = findNode(context.skip);
    expect(packed.run(node, 'npx', 'waybill', '--version')).toMatchObject({ code: 0, stdout: `${version}\n` });
    const { code, stdout, stderr } = packed.run(node, 'npx', 'waybill', 'demo', '--ci');
    expect(code, stderr).toBe(0);
    const outcome = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { ok: boolean; steps: { ok: boolean }[] };
    expect(outcome.ok).toBe(true);
    expect(outcome.steps.length).toBeGreaterThan(0);
    console.log(`${packed.run(node, 'node', '--version').stdout.trim()}: ${outcome.steps.length} steps of the demo`);
  });

  test('waybill validate takes the example that comes with it', (context) => {
    const example = join('node_modules', 'waybill', 'config', 'examples', 'waybill.yaml');
    const { code, stderr } = packed.run(findNode(context.skip), 'npx', 'waybill', 'validate', '--config', example);
    expect(code, stderr).toBe(0);
  });
});
