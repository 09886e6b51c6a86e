import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { root } from '../repo/sources.ts';
import { installPrograms } from '../stage/apt-programs.ts';

const program = 'promtool';
let missing: string | undefined;
beforeAll(() => {
  missing = installPrograms({ [program]: 'prometheus' });
});

/** What `promtool` says of files in deploy/prometheus/. */
function runPromtool(...args: string[]): { code: number | null; said: string } {
  const cwd = join(root, 'deploy', 'prometheus');
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8' });
  return { code: status, said: `${stdout}${stderr}` };
}

test.for([
  ['check', 'rules', '--lint-fatal', 'waybill.rules.yaml'],
  ['check', 'config', 'scrape.yaml'],
  ['test', 'rules', 'waybill.rules.test.yaml'],
  ['test', 'rules', 'waybill.rules.intervals.test.yaml'],
])('promtool %s %s', { timeout: 300_000 }, (args, context) => {
  if (missing !== undefined) context.skip(missing);
  const { code, said } = runPromtool(...args);
  expect(code, said).toBe(0);
});
