import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import type { TokenOrderParts } from '../../proxy/exchange/token-order.ts';
import { type DeskUnderTest, openDesk, refusalOf } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;
let under: DeskUnderTest;

beforeEach(async () => {
  service = await openFakeTokenService({ delayMs: 30 });
  under = await openDesk(service);
});
afterEach(() => service.close());

test('W4: 100 concurrent misses on one order make one exchange', async () => {
  const { desk, trail, order } = under;
  const wanted = await order();
  const tokens = await Promise.all(Array.from({ length: 100 }, async () => desk.take(wanted)));
  expect([service.counts.token, new Set(tokens).size]).toEqual([1, 1]);
  expect(trail.issuedTokens).toHaveLength(1);
  expect(trail.results).toEqual(Array.from({ length: 100 }, () => 'miss'));
});

test('a hit is answered at once, without a promise', async () => {
  const { desk, trail, order } = under;
  const wanted = await order();
  const token = await desk.take(wanted);
  expect(desk.take(wanted)).toBe(token);
  expect([service.counts.token, trail.results]).toEqual([1, ['miss', 'hit']]);
});

test('those who wait with a leader that fails get its refusal, and those who come later do not', async () => {
  const { desk, world, order } = under;
  // Measured by the clock that nobody sets.
  Object.assign(world, { monotonic: () => performance.now() + world.aheadMs });
  service.lie = 'broken';
  const wanted = await order();
  const refusals = await Promise.all(Array.from({ length: 20 }, () => refusalOf(() => desk.take(wanted))));
  expect(new Set(refusals.map(({ code }) => code))).toEqual(new Set(['token_service_unavailable']));
  expect(service.counts.token).toBe(1);
  service.lie = undefined;
  world.aheadMs += 1001;
  await desk.take(wanted);
  expect(service.counts.token).toBe(2);
});

/** One change per input of W4. */
const changes: Readonly<Record<string, Partial<TokenOrderParts>>> = {
  task: { txn: 'txn-2' },
  'tool origin': { toolOrigin: 'http://crm.example.org' },
  audience: { audience: ['mail'] },
  'a further audience': { audience: ['crm', 'mail'] },
  resource: { resource: 'https://crm.example.org' },
  scopes: { scopes: ['crm.write'] },
  'no scopes': { scopes: undefined },
  grant: { grant: 'client_credentials', subject: undefined },
  'proof key': { proofKey: makeProofKey() },
  'time of use': { useForMs: 60_000 },
};

test('W4: an order that differs in any one input is exchanged by itself', async () => {
  const { desk, order } = under;
  const base = await order();
  await desk.take(base);
  const { subject } = base;
  const orders = [];
  for (const change of Object.values(changes)) orders.push(await order({ subject, ...change }));
  orders.push(await order({}, { jti: 'another-token-of-alice' }));
  orders.push(await order({ subject: { ...subject!, act: { sub: 'spiffe://example.org/x' } } }));
  orders.push(await order({ subject: { ...subject!, sub: 'bob' } }));
  orders.push(await order({ subject: { ...subject!, iss: 'https://other.example.org' } }));
  orders.push(await order({ subject: { ...subject!, tokenType: 'urn:ietf:params:oauth:token-type:jwt' } }));
  const keys = new Set([base, ...orders].map(({ key }) => key));
  expect(keys.size).toBe(orders.length + 1);
  for (const wanted of orders) await Promise.allSettled([(async () => desk.take(wanted))()]);
  expect(service.counts.token).toBe(orders.length + 1);
});

test('the same order made twice is the same order', async () => {
  const { desk, order } = under;
  const base = await order({ scopes: ['a', 'b'] });
  const again = await order({ subject: base.subject, scopes: ['b', 'a', 'a'] });
  expect(again.key).toBe(base.key);
  const token = await desk.take(base);
  expect(desk.take(again)).toBe(token);
});

test('lists cannot be spelled so that two orders look the same', async () => {
  const { order } = under;
  const base = await order();
  const { subject } = base;
  const keys = [
    await order({ subject, audience: ['a', 'b'] }),
    await order({ subject, audience: ['a,b'] }),
    await order({ subject, audience: ['a1:b'] }),
    await order({ subject, audience: [], scopes: ['a', 'b'] }),
    await order({ subject, audience: [], resource: '-' }),
    await order({ subject, audience: [''] }),
    await order({ subject, audience: [] }),
    await order({ subject, txn: '1:a' }),
  ].map(({ key }) => key);
  expect(new Set(keys).size).toBe(keys.length);
});
