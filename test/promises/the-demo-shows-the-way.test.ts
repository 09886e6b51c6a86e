import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { isAlive, killRemaining, launcher, Running, runWaybill } from '../stage/command-line.ts';

/** The demo keeps its files below the temporary folder: here they can be counted. */
let temporary: string;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  // Short: the sockets of each hop lie below it, and the path of a socket has 103 characters on macOS.
  temporary = mkdtempSync(join(tmpdir(), 'wb-'));
  env = { ...process.env, TMPDIR: temporary };
});
afterEach(() => {
  killRemaining();
  // Of a demo that a failed test killed, the children may still be ending.
  rmSync(temporary, { recursive: true, maxRetries: 10, retryDelay: 200 });
});

interface Outcome {
  readonly ok: boolean;
  readonly steps: readonly { name: string; ok: boolean; detail: Record<string, unknown> }[];
  readonly replays_blocked: Record<string, number>;
}

const stepNames = [
  'exchange',
  'cache',
  'refusal',
  'foreign_tool',
  'task_end',
  'chain',
  'replay_same',
  'replay_path',
  'replay_tool',
  'replay_foreign_key',
];
/** Why each attempt of the thief is refused; in the order of the steps, and each counted once over all sidecars. */
const replays = ['proof_reused', 'proof_wrong_target', 'token_wrong_audience', 'token_foreign_presenter'];

/** A demo is ten processes, and a machine may have other work. */
vi.setConfig({ testTimeout: 90_000 });

const sidecarOf = (stdout: string): number => Number(/the sidecar is process (\d+)/.exec(stdout)?.[1]);

/** The four sidecars of the chain and its two agents, once the demo names them. */
const chainOf = (stdout: string): number[] => {
  // Lines of the narration are broken at spaces.
  const told = /sidecars run, processes (?<sidecars>[\d, ]+); the agents are processes (?<agents>[\d, ]+)\./;
  const found = told.exec(stdout.replaceAll(/\s+/g, ' '))?.groups;
  return found === undefined ? [] : `${found['sidecars']},${found['agents']}`.split(',').map(Number);
};

const hop = (name: string): string => `spiffe://demo.example/${name}`;

test('W3, W4: the demo exchanges, caches, refuses, blocks and takes back, says so in one object, and shows no token or handle', async () => {
  const { code, stdout, stderr } = await runWaybill(['demo', '--ci'], { env });
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const outcome = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Outcome;
  expect(Object.keys(outcome)).toEqual(['ok', 'steps', 'replays_blocked']);
  expect(outcome.ok).toBe(true);
  expect(outcome.steps.map(({ name, ok }) => [name, ok])).toEqual(stepNames.map((name) => [name, true]));
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
  const counted = Object.fromEntries(Object.entries(outcome.replays_blocked).filter(([, count]) => count > 0));
  const once = ['handle_foreign_tool', 'handle_ended', ...replays].map((reason) => [reason, 1]);
  expect(counted).toEqual(Object.fromEntries(once));
  expect(outcome.replays_blocked).toMatchObject({ handle_unknown: 0, chain_spliced: 0 });
  expect(stdout).toContain('aud    https://crm.example.org');
  for (const never of ['wbh_', 'eyJ', '\u001b']) expect(stdout).not.toContain(never);
  expect(readdirSync(temporary)).toEqual([]);
  expect([sidecarOf(stdout), ...chainOf(stdout)].map(isAlive)).toEqual(Array(7).fill(false));
});

test('the tool sees for whom and by which path, and what crossed the wire is good for nothing else', async () => {
  // With --json the object is all that is printed.
  const { code, stdout, stderr } = await runWaybill(['demo', '--json'], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const outcome = JSON.parse(stdout) as Outcome;
  const [chain, ...attempts] = outcome.steps.slice(5).map(({ detail }) => detail);
  expect(chain).toMatchObject({
    status: 200,
    claims: {
      sub: 'alice',
      act: { sub: hop('worker'), act: { sub: hop('planner') } },
      aud: 'https://crm.example.org',
    },
    links: [
      { iss: hop('planner'), sub: 'alice', aud: 'https://worker.example.org', may: { hops: 1 } },
      {
        iss: hop('worker'),
        sub: 'alice',
        aud: 'https://crm.example.org',
        may: { hops: 0 },
        prev: expect.any(String),
      },
    ],
    path: [hop('planner'), hop('worker')],
    hops: [
      { from: 'alice', to: 'planner', audience: 'https://planner.example.org', scope: 'plan reconcile crm.read' },
      { from: 'planner', to: 'worker', audience: 'https://worker.example.org', scope: 'crm.read reconcile' },
      { from: 'worker', to: 'crm', audience: 'https://crm.example.org', scope: 'crm.read' },
    ],
    // What its sidecar let through to the CRM, as bytes: the token's own path, and the path that the sidecar verified; no link.
    at_tool: {
      headers: ['authorization', 'dpop', 'waybill-chain'],
      act: { sub: hop('worker'), act: { sub: hop('planner') } },
      waybill_chain: [hop('planner'), hop('worker')],
    },
    // What the agents hold is no token of the service.
    agents: ['planner', 'worker'].map(() => ({ user: 'alice', token_of: 'http://waybill.local' })),
    requests_at_tool: 1,
  });
  const refused = { status: 401, counted: 1, new_requests_at_tool: 0, event: expect.any(String) };
  expect(attempts).toMatchObject(replays.map((reason) => ({ ...refused, code: reason })));
  expect(attempts.map((attempt) => attempt['grade'])).toEqual(['proven', 'proven', 'suspected', 'proven']);
});

test('the demo is not led through the proxy of its caller, such as the one that tasks open sets', async () => {
  const proxy = 'http://127.0.0.1:1';
  const led = { ...env, HTTP_PROXY: proxy, HTTPS_PROXY: proxy, NODE_USE_ENV_PROXY: '1' };
  const { code, stdout, stderr } = await runWaybill(['demo', '--json'], { env: led });
  const { ok, steps } = JSON.parse(stdout) as Outcome;
  expect({ ok, failed: steps.filter((step) => !step.ok), code, stderr }).toEqual({
    ok: true,
    failed: [],
    code: 0,
    stderr: '',
  });
});

test('what the demo says of headers is what the tool got: its path in Waybill-Chain, and the links with its sidecar alone', async () => {
  const { stdout } = await runWaybill(['demo'], { env });
  const told = stdout.replaceAll(/\s+/g, ' ');
  expect(told).toContain('a chain of agents, and a thief');
  expect(told).toContain('Waybill-Chain spiffe://demo.example/planner spiffe://demo.example/worker');
  expect(told).toContain('its sidecar got two links in Waybill-Delegation, and kept them');
});

test('a machine that stands still for some seconds in the middle of an exchange spoils nothing', async () => {
  const running = new Running(process.execPath, [launcher, 'demo', '--ci'], { env });
  await eventually('the agent calls', () => running.stdout.includes('await fetch('), 40_000);
  // The agent is a process of its own and goes on: its call finds the token service, which is in the demo, silent.
  await sleep(20);
  running.child.kill('SIGSTOP');
  await sleep(4000);
  running.child.kill('SIGCONT');
  const { code, stdout } = await running.finished;
  const { ok, steps } = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Outcome;
  expect({ ok, failed: steps.filter((step) => !step.ok) }).toEqual({ ok: true, failed: [] });
  expect(code).toBe(0);
});

test.each([['--ci'], ['--json']])(
  'with %s the last line is the object also when the parts do not start',
  async (option) => {
    // The path of a socket has 103 or 107 characters.
    const long = join(temporary, 'x'.repeat(100));
    mkdirSync(long);
    const { code, stdout, stderr } = await runWaybill(['demo', option], { env: { ...env, TMPDIR: long } });
    expect(code).toBe(1);
    const lines = stdout.trimEnd().split('\n');
    if (option === '--json') expect(lines).toHaveLength(1);
    expect(JSON.parse(lines.at(-1) ?? '')).toEqual({
      ok: false,
      steps: [],
      replays_blocked: {},
      why: expect.stringMatching(/\S/),
    });
    expect(stderr).not.toBe('');
  },
);

test('--keep goes on with a call to try; Ctrl-C ends it, and nothing stays behind', async () => {
  const running = new Running(process.execPath, [launcher, 'demo', '--keep'], { env });
  await eventually('the demo waits', () => running.stdout.includes('waybill tasks complete'), 40_000);
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

test('a demo that is interrupted or killed leaves no process behind', async () => {
  const interrupted = new Running(process.execPath, [launcher, 'demo', '--ci'], { env });
  await eventually('the sidecar runs', () => interrupted.stdout.includes('the sidecar is process'), 40_000);
  interrupted.child.kill('SIGTERM');
  const { code, stdout } = await interrupted.finished;
  expect(code).toBe(1);
  expect(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ ok: false, why: 'interrupted' });
  expect(readdirSync(temporary)).toEqual([]);
  // With --keep it goes on for ever, so what ends it is the signal.
  const killed = new Running(process.execPath, [launcher, 'demo', '--keep'], { env });
  await eventually('the chain runs', () => chainOf(killed.stdout).length === 6, 40_000);
  const children = [sidecarOf(killed.stdout), ...chainOf(killed.stdout)];
  expect(children.map(isAlive)).toEqual(Array(7).fill(true));
  killed.child.kill('SIGKILL');
  await eventually('its children end', () => !children.some(isAlive), 15_000);
});
