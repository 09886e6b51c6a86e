import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { isAlive, killRemaining, launcher, Running, runWaybill } from '../stage/command-line.ts';

let temporary: string;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'wb-'));
  env = { ...process.env, TMPDIR: temporary };
});
afterEach(() => {
  killRemaining();
  // Of a demo that a failed test killed, the children may still be ending.
  rmSync(temporary, { recursive: true, maxRetries: 10, retryDelay: 200 });
});

/** A demo is ten processes, and a machine may have other work. */
vi.setConfig({ testTimeout: 90_000 });

const sidecarOf = (stdout: string): number => Number(/the sidecar is process (\d+)/.exec(stdout)?.[1]);

test('a demo whose reader goes away, or whose terminal does, leaves no file and no process behind', async () => {
  const read = new Running(process.execPath, [launcher, 'demo'], { env });
  await eventually('the sidecar runs', () => read.stdout.includes('the sidecar is process'), 40_000);
  const sidecar = sidecarOf(read.stdout);
  read.child.stdout?.destroy();
  expect(await read.finished).toMatchObject({ code: 1, stderr: '' });
  expect([readdirSync(temporary), isAlive(sidecar)]).toEqual([[], false]);
  const kept = new Running(process.execPath, [launcher, 'demo', '--keep'], { env });
  await eventually('the demo waits', () => kept.stdout.includes('waybill tasks complete'), 40_000);
  kept.child.kill('SIGHUP');
  expect((await kept.finished).code).toBe(1);
  expect([readdirSync(temporary), isAlive(sidecarOf(kept.stdout))]).toEqual([[], false]);
});

test.each(['a b', 'a%20b', 'ä', 'a#b', 'x'.repeat(100)])(
  'a temporary folder that cannot have the sockets is told before anything starts: %s',
  async (name) => {
    const folder = join(temporary, name);
    mkdirSync(folder);
    const { code, stderr } = await runWaybill(['demo'], { env: { ...env, TMPDIR: folder } });
    expect([code, readdirSync(folder)]).toEqual([1, []]);
    expect(stderr).toContain('set TMPDIR');
  },
);
