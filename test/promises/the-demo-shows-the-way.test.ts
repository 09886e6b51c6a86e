import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { isAlive, killRemaining, launcher, Running, runWaybill } from '../stage/command-line.ts';

/** The demo keeps its files below the temporary folder: here they can be counted. */
let temporary: string;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'waybill-test-'));
  env = { ...process.env, TMPDIR: temporary };
});
afterEach(() => {
  killRemaining();
  rmSync(temporary, { recursive: true });
});

interface Outcome {
  readonly ok: boolean;
  readonly steps: readonly { name: string; ok: boolean; detail: Record<string, unknown> }[];
  readonly replays_blocked: Record<string, number>;
}

const sidecarOf = (stdout: string): number => Number(/the sidecar is process (\d+)/.exec(stdout)?.[1]);

test('W3, W4: the demo exchanges, caches, refuses, blocks and takes back, says so in one object, and shows no token or handle', async () => {
  const { code, stdout, stderr } = await runWaybill(['demo', '--ci'], { env });
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const outcome = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Outcome;
  expect(Object.keys(outcome)).toEqual(['ok', 'steps', 'replays_blocked']);
  expect(outcome.ok).toBe(true);
  expect(outcome.steps.map(({ name, ok }) => [name, ok])).toEqual([
    ['exchange', true],
    ['cache', true],
    ['refusal', true],
    ['foreign_tool', true],
    ['task_end', true],
  ]);
  const [exchange, cache, refusal, foreign, end] = outcome.steps.map(({ detail }) => detail);
  expect(exchange?.['claims']).toMatchObject({
    sub: 'alice',
    act: { sub: 'spiffe://demo.example/invoice-bot' },
    aud: 'https://crm.example.org',
    scope: 'crm.read',
    cnf: { jkt: expect.any(String) },
  });
  expect(cache).toMatchObject({ token: exchange?.['token'], from: 'cache', exchanges: 1 });
  expect(refusal).toMatchObject({ code: 'tool_not_in_task', hint: expect.any(String), requests_at_tool: 0 });
  expect(foreign).toMatchObject({ code: 'handle_foreign_tool', requests_at_tool: 0 });
  expect(end).toMatchObject({ state: 'completed', active_before: true, active_after: false, code: 'handle_ended' });
  // As the sidecar's metrics count them.
  expect(outcome.replays_blocked).toMatchObject({ handle_foreign_tool: 1, handle_ended: 1, handle_unknown: 0 });
  expect(stdout).toContain('aud    https://crm.example.org');
  for (const never of ['wbh_', 'eyJ', '\u001b']) expect(stdout).not.toContain(never);
  expect(readdirSync(temporary)).toEqual([]);
  expect(isAlive(sidecarOf(stdout))).toBe(false);
});

test('--json prints the object alone', async () => {
  const { code, stdout, stderr } = await runWaybill(['demo', '--json'], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect((JSON.parse(stdout) as Outcome).steps).toHaveLength(5);
});

test('--keep goes on with a call to try; Ctrl-C ends it, and nothing stays behind', async () => {
  const running = new Running(process.execPath, [launcher, 'demo', '--keep'], { env });
  await eventually('the demo waits', () => running.stdout.includes('waybill tasks complete'), 20_000);
  const curl = /^ *curl --proxy (\S+) --cacert (\S+) (\S+)$/m.exec(running.stdout);
  expect(curl?.[1]).toMatch(/^http:\/\/task:wbh_/);
  const script = `fetch(${JSON.stringify(curl?.[3])}).then((r) => console.log(r.status))`;
  const tried = await new Running(process.execPath, ['-e', script], {
    env: { HTTPS_PROXY: curl?.[1], NODE_USE_ENV_PROXY: '1', NODE_EXTRA_CA_CERTS: curl?.[2] },
  }).finished;
  expect(tried.stdout).toBe('200\n');
  running.child.kill('SIGINT');
  expect((await running.finished).code).toBe(0);
  expect(readdirSync(temporary)).toEqual([]);
  expect(isAlive(sidecarOf(running.stdout))).toBe(false);
});

test('a demo that is interrupted or killed leaves no sidecar behind', async () => {
  const interrupted = new Running(process.execPath, [launcher, 'demo'], { env });
  await eventually('the sidecar runs', () => interrupted.stdout.includes('the sidecar is process'), 20_000);
  interrupted.child.kill('SIGTERM');
  expect((await interrupted.finished).code).toBe(1);
  expect(readdirSync(temporary)).toEqual([]);
  const killed = new Running(process.execPath, [launcher, 'demo'], { env });
  await eventually('the sidecar runs', () => killed.stdout.includes('the sidecar is process'), 20_000);
  killed.child.kill('SIGKILL');
  await eventually('the sidecar ends', () => !isAlive(sidecarOf(killed.stdout)));
});
