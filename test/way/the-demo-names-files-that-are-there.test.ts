import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { root } from '../repo/sources.ts';
import { killRemaining, launcher, Running } from '../stage/command-line.ts';

/** A demo is ten processes, and a machine may have other work. */
vi.setConfig({ testTimeout: 90_000 });

const project = realpathSync(mkdtempSync(join(tmpdir(), 'wb-')));
afterAll(() => {
  killRemaining();
  rmSync(project, { recursive: true, maxRetries: 10, retryDelay: 200 });
});

/** The package as a project has it, without its pages of text but those that stand here. */
function install(): string {
  const home = join(project, 'node_modules', 'waybill');
  mkdirSync(join(home, 'proxy'), { recursive: true });
  const build = ['-p', join(root, 'tsconfig.build.json'), '--outDir', join(home, 'dist')];
  execFileSync(join(root, 'node_modules', '.bin', 'tsc'), build, { cwd: root });
  for (const path of ['package.json', 'README.md', 'proxy/launch.js', 'config/examples'])
    cpSync(join(root, path), join(home, path), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'));
  return join(home, 'proxy', 'launch.js');
}

test.for(['a clone', 'the package'])('what to try next, of %s', async (where) => {
  const [program, cwd] = where === 'a clone' ? [launcher, root] : [install(), project];
  const { code, stdout } = await new Running(process.execPath, [program, 'demo'], { cwd }).finished;
  expect(code).toBe(0);
  const advice = stdout.slice(stdout.indexOf('What to try next'));
  const named = [...advice.matchAll(/[\w./-]+\.(?:md|ts|js|yaml)\b/g)].map(([path]) => path);
  expect(named).toHaveLength(5);
  expect(named.filter((path) => !existsSync(join(cwd, path)))).toEqual([]);
  expect(advice).toContain('npx waybill demo --keep');
});
