import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Lie } from '../fakes/token-service-lies.ts';
import { type DelayedOrigin, openDelayedOrigin } from '../fakes/delayed-origin.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';
import { type EchoTool, openEchoTool } from '../stage/echo-tool.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { tries } from '../stage/tries.ts';

/** Each fault has a service of its own: nothing that one learns of its service is to help, or to harm, another. */
const faults: readonly Lie[] = 'slow trickle broken unavailable throttled reset garbage redirect half'.split(' ');
const others = ['down', 'hung', 'refresh', 'retried'];
/** Each of their answers comes after 0.7 s: metadata, token and keys. */
const late = ['late', 'late_and_gone'];
const delays: DelayedOrigin[] = [];
const services = new Map<string, FakeTokenService>();
let tool: EchoTool;
let stage: Stage;

beforeAll(async () => {
  for (const name of [...faults, ...others]) services.set(name, await openFakeTokenService());
  for (const name of late) {
    const delay = await openDelayedOrigin(700);
    delays.push(delay);
    services.set(name, await delay.openService());
  }
  tool = await openEchoTool();
  stage = await openStage({
    tools: Object.fromEntries([...services.keys()].map((name) => [name, toolAt(name)])),
    services: Object.fromEntries(
      [...services].map(([name, { issuer }]) => [name, serviceAt(delays[late.indexOf(name)]?.origin ?? issuer)]),
    ),
  });
}, 60_000);
afterAll(async () => {
  await stage?.close();
  await Promise.all([...services.values(), ...delays].map((service) => service.close()));
  await tool.close();
});
beforeEach(() => {
  for (const service of services.values()) service.lie = undefined;
});

function toolAt(name: string) {
  const useFor = name === 'refresh' ? { use_for: '4s' } : {};
  return {
    port: tool.port,
    more: { token: { from: name, audience: [name], scopes: ['x'], ...useFor } },
  };
}

/** Default `timeout`: 2 s. A client secret that nobody checks: what fails here is the service. */
function serviceAt(issuer: string): object {
  return { issuer, client_auth: 'client_secret_post', client_id: 'bot', client_secret_file: '/etc/hostname' };
}

function serviceOf(name: string): FakeTokenService {
  const service = services.get(name);
  if (service === undefined) throw new Error(`no service ${name}`);
  return service;
}

interface Timed extends RawAnswer {
  readonly ms: number;
}

/** A call of a task of its own, or of a task that is given: how it was answered, and when. */
async function call(name: string, task?: StagedTask): Promise<Timed> {
  const { handle } = task ?? (await stage.task());
  const startedAt = performance.now();
  const answer = await callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/`, { handle });
  return { ...answer, ms: performance.now() - startedAt };
}

/** In a median, and never near the time-out: this machine has other things to do. */
function expectAtOnce(answers: readonly { readonly ms: number }[]): void {
  const times = answers.map(({ ms }) => ms);
  expect(median(times)).toBeLessThan(50);
  expect(Math.max(...times)).toBeLessThan(1000);
}

/** Misses, all at once, until the breaker must be open. */
async function breakIt(name: string): Promise<readonly Timed[]> {
  const tasks = await Promise.all(Array.from({ length: 5 }, () => stage.task()));
  return Promise.all(tasks.map((task) => call(name, task)));
}

describe('W1: a service that fails is refused within its time, and at once when that is known', () => {
  const title = '%s: 5 misses within 2 s, then 20 at once without asking, then it is well again';
  test.for(faults)(title, { ...tries, timeout: 20_000 }, async (lie) => {
    const service = serviceOf(lie);
    const cached = await stage.task();
    expect((await call(lie, cached)).status).toBe(200);
    service.lie = lie;
    const wanted = ['garbage', 'redirect'].includes(lie) ? [502, 'token_rejected'] : [503, 'token_service_unavailable'];
    const first = await breakIt(lie);
    expect(first.map(({ status, code }) => [status, code])).toEqual(first.map(() => wanted));
    expect(Math.max(...first.map(({ ms }) => ms))).toBeLessThan(2000);
    const asked = service.counts.token;
    const then: Timed[] = [];
    for (let at = 0; at < 20; at++) then.push(await call(lie));
    expect(then.map(({ code }) => code)).toEqual(then.map(() => 'token_service_unavailable'));
    expect(then.every(({ headers }) => Number(headers['retry-after']) >= 1)).toBe(true);
    expectAtOnce(then);
    // Probes apart, of which there is at most one in these milliseconds.
    expect(service.counts.token - asked).toBeLessThanOrEqual(1);
    expect((await call(lie, cached)).status).toBe(200);
    service.lie = undefined;
    await recovers(lie, 6000);
  });
});

test.for(['late', 'late_and_gone'])('W1: %s: steps that are each in time do not add up beyond 2 s', async (name) => {
  serviceOf(name).lie = name === 'late' ? undefined : 'unavailable';
  const { status, code, ms } = await call(name);
  expect([status, code]).toEqual([503, 'token_service_unavailable']);
  expect(ms).toBeGreaterThan(1500);
  expect(ms).toBeLessThan(2000);
});

/** Polls with fresh tasks until one passes; every refusal meanwhile comes at once. */
async function recovers(name: string, withinMs: number): Promise<number> {
  const startedAt = performance.now();
  const refused: Timed[] = [];
  for (;;) {
    const answer = await call(name);
    if (answer.status === 200) break;
    expect(answer.code).toBe('token_service_unavailable');
    refused.push(answer);
    if (performance.now() - startedAt > withinMs) throw new Error(`not well again after ${withinMs} ms`);
    await sleep(100);
  }
  expectAtOnce(refused);
  const after = await Promise.all([call(name), call(name), call(name)]);
  expect(after.map(({ status }) => status)).toEqual([200, 200, 200]);
  return performance.now() - startedAt;
}

test(
  'W1: while a service hangs, no call waits for a probe, and the probes become rare',
  { ...tries, timeout: 30_000 },
  async () => {
    const service = serviceOf('hung');
    expect((await call('hung')).status).toBe(200);
    service.lie = 'slow';
    await breakIt('hung');
    const asked = service.counts.token;
    const answers: Timed[] = [];
    const endAt = performance.now() + 7000;
    while (performance.now() < endAt) {
      answers.push(await call('hung'));
      await sleep(50);
    }
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set(['token_service_unavailable']));
    expectAtOnce(answers);
    // Pauses of 1 s and 2 s, each with a time-out of 2 s behind it.
    expect(service.counts.token - asked).toBeGreaterThan(0);
    expect(service.counts.token - asked).toBeLessThanOrEqual(3);
    service.lie = undefined;
    await recovers('hung', 10_000);
  },
);

test('W1: a service that is down and comes back is found by itself', async () => {
  const service = serviceOf('down');
  const cached = await stage.task();
  expect((await call('down', cached)).status).toBe(200);
  await service.close();
  const first = await breakIt('down');
  expect(first.map(({ status }) => status)).toEqual([503, 503, 503, 503, 503]);
  await sleep(5000);
  const meanwhile = await call('down');
  expect([meanwhile.status, meanwhile.ms < 500, (await call('down', cached)).status]).toEqual([503, true, 200]);
  await service.up();
  await recovers('down', 12_000);
}, 30_000);

test('W1: one failure in passing is tried once more, with everything made anew, and nobody notices', async () => {
  const service = serviceOf('retried');
  expect((await call('retried')).status).toBe(200);
  for (const lie of ['reset', 'unavailable']) {
    service.lie = lie;
    const before = service.counts.token;
    const answer = call('retried');
    while (service.counts.token === before) await sleep(1);
    service.lie = undefined;
    expect([(await answer).status, service.counts.token - before]).toEqual([200, 2]);
  }
  // After an answer has begun, a token may exist that nobody saw.
  for (const lie of ['half', 'broken', 'throttled', 'garbage', 'access_denied']) {
    service.lie = lie;
    const before = service.counts.token;
    expect((await call('retried')).status).not.toBe(200);
    expect([lie, service.counts.token - before]).toEqual([lie, 1]);
    service.lie = undefined;
    expect((await call('retried')).status).toBe(200);
  }
});

test('W1: a refusal of one grant is no failure of the service', async () => {
  const service = serviceOf('retried');
  service.lie = 'invalid_grant';
  for (let at = 0; at < 12; at++) expect((await call('retried')).code).toBe('grant_dead');
  service.lie = undefined;
  expect((await call('retried')).status).toBe(200);
});

test('W4: a good token is used to its end while its refresh fails, and not beyond', async () => {
  const service = serviceOf('refresh');
  const task = await stage.task();
  const issuedAt = performance.now();
  expect((await call('refresh', task)).status).toBe(200);
  service.lie = 'slow';
  const seen: [number, number][] = [];
  const good: Timed[] = [];
  while (performance.now() - issuedAt < 5500) {
    const answer = await call('refresh', task);
    seen.push([performance.now() - issuedAt, answer.status]);
    if (answer.status === 200) good.push(answer);
    await sleep(100);
  }
  expectAtOnce(good);
  const statusesAt = (from: number, to: number): Set<number> =>
    new Set(seen.filter(([ms]) => ms > from && ms < to).map(([, status]) => status));
  expect([statusesAt(0, 3900), statusesAt(4200, 9999)]).toEqual([new Set([200]), new Set([503])]);
}, 20_000);

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}
