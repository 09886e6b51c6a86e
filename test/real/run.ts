/**
 * `npm run test:real`: the tests against real clients and services, which may be missing on a machine. A test says so with
 * `context.skip('reason')`, printed as `skipped: reason`. The last line is `N passed, N failed`, with `, N skipped` if any were.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'waybill-tally-'));
const file = join(folder, 'tally');

const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
const { status } = spawnSync(
  process.execPath,
  [vitest, 'run', '--config', 'vitest.real.config.ts', ...process.argv.slice(2)],
  { cwd: root, stdio: 'inherit', env: { ...process.env, WAYBILL_TALLY: file } },
);

let [passed, failed, skipped] = readTally();
// An end with an error that belongs to no test is a failure too.
if (status !== 0 && failed === 0) failed = 1;
rmSync(folder, { recursive: true });

console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed > 0 ? 1 : 0;

function readTally(): [number, number, number] {
  try {
    const [p = 0, f = 0, s = 0] = readFileSync(file, 'utf8').trim().split(' ').map(Number);
    return [p, f, s];
  } catch {
    // Vitest did not get to its end.
    return [0, 1, 0];
  }
}
