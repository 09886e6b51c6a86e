import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { killRemaining, runWaybill } from '../stage/command-line.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-words-'));
const file = join(dir, 'waybill.yaml');
writeFileSync(file, 'version: 1\nagent: { name: a }\n');

afterAll(() => {
  killRemaining();
  rmSync(dir, { recursive: true });
});

const nowhere = ['--socket', join(dir, 'none.sock')];

test.each([
  // The first would stay in force, with exit code 0.
  ['revoke', ['--tool', 'crm', '--tool', 'mail', '--reason', 'leak', ...nowhere], '--tool'],
  ['revoke', ['--agent=a', '--reason', 'leak', '--agent=b', ...nowhere], '--agent'],
  ['tasks', ['open', '--subject-token-file', '/a', '--tools', 'crm', '--tools', 'mail', ...nowhere], '--tools'],
  ['validate', ['--config', file, '--config', file], '--config'],
  ['run', ['--config', file, '--config', `${file}.other`], '--config'],
  ['doctor', ['--config', file, '--config', file], '--config'],
])('W1: %s takes no option twice: the one before would be forgotten', async (command, args, option) => {
  const { code, stderr, stdout } = await runWaybill([command, ...args]);
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toContain(`${option} is given twice, and has one value`);
});

test('what says the same twice is no harm', async () => {
  expect((await runWaybill(['validate', '--json', '--config', file, '--json'])).code).toBe(0);
});
