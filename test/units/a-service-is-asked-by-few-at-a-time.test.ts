import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Deadline } from '../../proxy/exchange/deadline.ts';
import { ServiceGate } from '../../proxy/exchange/service-gate.ts';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { Refusal } from '../../proxy/refusal.ts';
import { eventually } from '../fakes/eventually.ts';
import { openDesk, refusalOf, shiftedWorld } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;

beforeEach(async () => {
  service = await openFakeTokenService();
});
afterEach(() => service.close());

/** Without a SPIFFE identity, so that what is slow is the service. */
const plain = {
  client_auth: 'client_secret_post',
  client_id: 'bot',
  client_secret_file: '/etc/hostname',
  actor: 'none',
  expect: { sub: 'same', act: 'any', typ: ['at+jwt'] },
} as const;

async function outcomeOf(taken: Promise<unknown>): Promise<string> {
  try {
    await taken;
    return 'issued';
  } catch (error) {
    return error instanceof Refusal ? error.code : String(error);
  }
}

function count(outcomes: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}

test('10,000 orders of one key are one exchange', async () => {
  const { desk, order } = await openDesk(service);
  const one = await order();
  service.delayMs = 200;
  const outcomes = await Promise.all(Array.from({ length: 10_000 }, () => outcomeOf(Promise.resolve(desk.take(one)))));
  expect([count(outcomes), service.counts.token]).toEqual([{ issued: 10_000 }, 1]);
  await desk.close(1);
});

test('10,000 orders of as many keys at a service that hangs: 64 ask, 4,096 wait, the rest is told at once', async () => {
  const { desk, order } = await openDesk(service, {
    ...plain,
    timeout: 5000,
  });
  const first = await order();
  await desk.take(first);
  service.lie = 'slow';
  const before = service.counts.token;
  const orders = await Promise.all(
    Array.from({ length: 10_000 }, (_, at) => order({ txn: `flood-${at}`, ...subjectOf(first) })),
  );
  const startedAt = performance.now();
  const asked = orders.map((one) => outcomeOf(takeSafely(desk, one)));
  await eventually('all places are taken', () => service.counts.token - before === 64);
  const outcomes = await Promise.all(asked);
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  expect(count(outcomes)).toEqual({ token_service_unavailable: 64 + 4096, overloaded: 10_000 - 64 - 4096 });
  // Of those who waited, four at most came in before the fifth failure had opened the breaker.
  expect(service.counts.token - before).toBeLessThanOrEqual(64 + 4);
  const refusal = await refusalOf(() => desk.take(orders[9999]!));
  expect(['overloaded', 'token_service_unavailable']).toContain(refusal.code);
  await desk.close(1);
}, 30_000);

test('who waits is served in turn when the service is well', async () => {
  const { desk, order } = await openDesk(service, {
    ...plain,
    timeout: 10_000,
  });
  const first = await order();
  await desk.take(first);
  service.delayMs = 100;
  const orders = await Promise.all(
    Array.from({ length: 150 }, (_, at) => order({ txn: `flood-${at}`, ...subjectOf(first) })),
  );
  const outcomes = await Promise.all(orders.map((one) => outcomeOf(takeSafely(desk, one))));
  expect(count(outcomes)).toEqual({ issued: 150 });
  await desk.close(1);
}, 20_000);

test('who waits for a service that turns out to be down is told when that is known, and not when his time is over', async () => {
  const { desk, order } = await openDesk(service, { ...plain, timeout: 20_000 });
  const first = await order();
  await desk.take(first);
  service.lie = 'broken';
  service.delayMs = 300;
  const orders = await Promise.all(
    Array.from({ length: 150 }, (_, at) => order({ txn: `flood-${at}`, ...subjectOf(first) })),
  );
  const before = service.counts.token;
  const startedAt = performance.now();
  const outcomes = await Promise.all(orders.map((one) => outcomeOf(takeSafely(desk, one))));
  expect(count(outcomes)).toEqual({ token_service_unavailable: 150 });
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  // Those of the first moment, and a few that came in before the fifth had failed.
  expect(service.counts.token - before).toBeLessThan(75);
  await desk.close(1);
}, 30_000);

/** One subject for all: what differs is the task. */
function subjectOf({ subject }: Awaited<ReturnType<Awaited<ReturnType<typeof openDesk>>['order']>>) {
  return { subject };
}

async function takeSafely(
  desk: Awaited<ReturnType<typeof openDesk>>['desk'],
  one: Parameters<typeof desk.take>[0],
): Promise<unknown> {
  return desk.take(one);
}

test('revocations wait for a service that is not to be asked, and then go through', async () => {
  const { desk, order, trail } = await openDesk(service);
  const held = await order();
  await desk.take(held);
  service.lie = 'broken';
  for (let at = 0; at < 5; at++) await refusalOf(async () => desk.take(await order({ txn: `txn-down-${at}` })));
  const asked = service.counts.revoke;
  desk.dropTask(held.txn, 'completed');
  await sleep(300);
  expect([service.counts.revoke - asked, trail.revocations]).toEqual([0, []]);
  service.lie = undefined;
  await eventually('it is back', () => trail.revocations.includes('completed revoked'));
  expect(service.counts.revoke - asked).toBe(1);
  await desk.close(1);
}, 15_000);

/** A service that says with each answer when it wants to be asked again. */
async function openPausing(headers: () => Record<string, string>): Promise<{ server: Server; url: string }> {
  const server = createServer((_request, response) => {
    response.sendDate = false;
    response.writeHead(429, { 'content-type': 'application/json', ...headers() });
    response.end('{"error":"slow_down"}');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token` };
}

test('Retry-After is taken as seconds, or as a date by the clock of the service, and never for longer than a minute', async () => {
  const date = 'Fri, 01 Jan 2021 10:00:00 GMT';
  const cases: [Record<string, string>, number | undefined][] = [
    [{ 'retry-after': '7' }, 7],
    [{ 'retry-after': '0' }, 1],
    [{ 'retry-after': '86400' }, 60],
    [{ 'retry-after': 'Fri, 01 Jan 2021 10:00:20 GMT', date }, 20],
    [{ 'retry-after': 'Fri, 01 Jan 2021 11:00:00 GMT', date }, 60],
    [{ 'retry-after': 'Fri, 01 Jan 2021 09:00:00 GMT', date }, 1],
    [{ 'retry-after': 'Fri, 01 Jan 2021 10:00:20 GMT' }, undefined],
    [{ 'retry-after': '-7', date }, undefined],
    [{ 'retry-after': 'soon', date }, undefined],
    [{}, undefined],
  ];
  for (const [headers, seconds] of cases) {
    const { server, url } = await openPausing(() => headers);
    const { desk, order } = await openDesk(service, { endpoints: { token: url, jwks: `${service.issuer}/jwks` } });
    const refusal = await refusalOf(async () => desk.take(await order()));
    expect([headers, refusal.code, refusal.retryAfter]).toEqual([headers, 'token_service_unavailable', seconds]);
    await desk.close(1);
    server.close();
    server.closeAllConnections();
  }
});

test('a second attempt makes proof and assertion anew, and does not believe that the grant is dead', async () => {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(String(request.headers['dpop']));
    if (seen.length === 1) {
      request.socket.resetAndDestroy();
      return;
    }
    response.writeHead(400, { 'content-type': 'application/json' });
    response.end('{"error":"invalid_grant"}');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  const { desk, order } = await openDesk(service, { endpoints: { token: url, jwks: `${service.issuer}/jwks` } });
  const bound = await order({ proofKey: makeProofKey() });
  expect((await refusalOf(() => desk.take(bound))).code).toBe('token_service_unavailable');
  expect([seen.length, new Set(seen).size]).toEqual([2, 2]);
  await desk.close(1);
  server.close();
  server.closeAllConnections();
});

test('a pause that a service asked for ends when it is over, even if the clock is set back meanwhile', async () => {
  const world = shiftedWorld();
  const gate = new ServiceGate('corp', world);
  const visit = await gate.enter(new Deadline(world, 1000));
  visit.fail(new Refusal('token_service_unavailable', undefined, 1));
  visit.end();
  expect(() => gate.check()).toThrow(Refusal);
  world.aheadMs = -3_600_000;
  await sleep(1050);
  gate.check();
});
