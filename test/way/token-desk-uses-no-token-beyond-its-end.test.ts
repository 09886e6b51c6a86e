import { afterEach, expect, test } from 'vitest';
import { lastMomentMs } from '../../proxy/exchange/issued-token.ts';
import { eventually } from '../fakes/eventually.ts';
import { openDesk, refusalOf } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;

afterEach(() => service.close());

/** Seconds that a token may be used. */
function life(token: { expiresAtMs: number; issuedAtMs: number }): number {
  return Math.round((token.expiresAtMs - token.issuedAtMs) / 1000);
}

test('a token is used as long as the shortest of its own life, use_for and the life of the subject token', async () => {
  service = await openFakeTokenService({ lifeSeconds: 300 });
  const { desk, order } = await openDesk(service);
  const now = Math.floor(Date.now() / 1000);
  expect(life(await desk.take(await order({ txn: 'own' })))).toBeCloseTo(300, -1);
  expect(life(await desk.take(await order({ txn: 'use', useForMs: 60_000 })))).toBe(60);
  expect(life(await desk.take(await order({ txn: 'subject' }, { exp: now + 20 })))).toBeCloseTo(20, -1);
});

test('a service that is slower than use_for has told no lie: its token is used, from its arrival on', async () => {
  service = await openFakeTokenService({ delayMs: 120 });
  const { desk, trail, order } = await openDesk(service);
  const token = await desk.take(await order({ useForMs: 100 }));
  expect([token.expiresAtMs - token.issuedAtMs, trail.rejectedTokens]).toEqual([100, []]);
});

test('a service that states no life gets one minute', async () => {
  service = await openFakeTokenService({ lie: 'no_expires_in' });
  const { desk, order } = await openDesk(service, { verify: 'response-only' });
  expect(life(await desk.take(await order()))).toBe(60);
});

test('stale is never served: after its end an order is exchanged anew', async () => {
  service = await openFakeTokenService();
  const { desk, world, order } = await openDesk(service);
  const wanted = await order({ useForMs: 60_000 });
  const first = await desk.take(wanted);
  world.aheadMs = 60_001;
  const second = await desk.take(wanted);
  expect([second === first, service.counts.token]).toEqual([false, 2]);
  service.lie = 'broken';
  world.aheadMs += 60_001;
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
});

test('in its last moment neither: a call is recorded and sent later than its token was taken', async () => {
  service = await openFakeTokenService();
  const { desk, world, order } = await openDesk(service);
  const wanted = await order({ useForMs: 60_000 });
  const first = await desk.take(wanted);
  world.aheadMs = first.expiresAtMs - Date.now() - 5;
  const second = await desk.take(wanted);
  expect([second === first, second.isUsable(world.now())]).toEqual([false, true]);
});

test('a token that is handed out can leave some moments later: a call is never refused for the end of what it was just given', async () => {
  service = await openFakeTokenService();
  for (let leftMs = 5; leftMs < 60; leftMs++) {
    const { desk, world, order } = await openDesk(service);
    const wanted = await order({ useForMs: 60_000 });
    const { expiresAtMs } = await desk.take(wanted);
    world.aheadMs = expiresAtMs - Date.now() - leftMs;
    const before = world.now();
    const taken = await desk.take(wanted);
    expect(taken.expiresAtMs - before).toBeGreaterThan(lastMomentMs + 8);
  }
});

test('from 80 % of its life a token is refreshed once in the background, and served until its end', async () => {
  service = await openFakeTokenService();
  const { desk, world, trail, order } = await openDesk(service);
  const wanted = await order({ useForMs: 100_000 });
  const first = await desk.take(wanted);
  world.aheadMs = 79_000;
  expect(desk.take(wanted)).toBe(first);
  world.aheadMs = 81_000;
  for (let i = 0; i < 5; i++) expect(desk.take(wanted)).toBe(first);
  expect(trail.results).toEqual(['miss', 'hit', 'refresh', 'stale', 'stale', 'stale', 'stale']);
  await eventually('the refresh lands', () => trail.issuedTokens.length === 2);
  expect(trail.issuedTokens.map(({ cause }) => cause)).toEqual(['first', 'refresh']);
  const second = await desk.take(wanted);
  expect([second === first, service.counts.token]).toEqual([false, 2]);
  // The first one goes back when a call that took it can no longer be on its way with it.
  expect(service.revoked).toEqual([]);
  world.aheadMs = 162_000;
  await desk.take(wanted);
  await eventually('the first is revoked', () => trail.revokedTokens.length === 1);
  expect(service.revoked[0]).toBe(service.issued[0]);
  expect(trail.revocations).toEqual(['superseded revoked']);
});

test('a refresh that fails leaves the old token in use until its own end', async () => {
  service = await openFakeTokenService();
  const { desk, world, trail, order } = await openDesk(service);
  const wanted = await order({ useForMs: 100_000 });
  const first = await desk.take(wanted);
  service.lie = 'broken';
  world.aheadMs = 90_000;
  expect(desk.take(wanted)).toBe(first);
  await eventually('the refresh fails', () => trail.exchanges.length === 2);
  await new Promise((done) => setTimeout(done, 20));
  expect(desk.take(wanted)).toBe(first);
  expect([trail.results, service.counts.token]).toEqual([['miss', 'refresh', 'stale'], 2]);
  world.aheadMs = 100_001;
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
});

test('a token that ends with its subject token is not refreshed over and over before that', async () => {
  service = await openFakeTokenService();
  const { desk, trail, world, order } = await openDesk(service);
  const wanted = await order({}, { exp: Math.floor(Date.now() / 1000) + 100 });
  const first = await desk.take(wanted);
  world.aheadMs = 95_000;
  expect(desk.take(wanted)).toBe(first);
  expect(trail.results).toEqual(['miss', 'hit']);
  world.aheadMs = 100_001;
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('grant_dead');
});

test('a token that its tool calls expired is exchanged anew, for all who hold it, once in 30 s', async () => {
  service = await openFakeTokenService({ delayMs: 20 });
  const { desk, world, trail, order } = await openDesk(service);
  // Measured by the clock that nobody sets.
  Object.assign(world, { monotonic: () => performance.now() + world.aheadMs });
  const wanted = await order();
  const first = await desk.take(wanted);
  const [one, other] = await Promise.all([desk.renew(wanted, first), desk.renew(wanted, first)]);
  expect([one === other, one === first, service.counts.token]).toEqual([true, false, 2]);
  // A call that still held the first one gets the second, which costs nothing.
  expect(await desk.renew(wanted, first)).toBe(one);
  expect(desk.renew(wanted, one!)).toBeUndefined();
  expect(await desk.take(wanted)).toBe(one);
  expect(trail.issuedTokens.map(({ cause }) => cause)).toEqual(['first', 'renewal']);
  await eventually('the refused one is revoked', () => trail.revokedTokens.length === 1);
  expect(trail.revocations).toEqual(['refused_by_tool revoked']);
  world.aheadMs = 30_001;
  expect(await desk.renew(wanted, one!)).not.toBe(one);
  expect(service.counts.token).toBe(3);
});
