import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type EndpointCall, EndpointFault } from '../../proxy/exchange/endpoint.ts';
import { callEndpoint, openDesk } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

/** Its documents are out of date then, and may be used for the rest of a day. */
const elevenMinutesMs = 660_000;

let service: FakeTokenService;
const unhandled: unknown[] = [];
const note = (reason: unknown): void => void unhandled.push(reason);

beforeEach(async () => {
  service = await openFakeTokenService({ lifeSeconds: 3000 });
  unhandled.length = 0;
  process.on('unhandledRejection', note);
});
afterEach(async () => {
  process.off('unhandledRejection', note);
  await service.close();
});

/** A desk that got a token eleven minutes ago; since then paths that match accept a request and give no answer. */
async function openDeskBeside(hanging: RegExp) {
  let hangs = false;
  const asked: string[] = [];
  const call: EndpointCall = async (url, init) => {
    if (!hangs || !hanging.test(url.pathname)) return callEndpoint(url, init);
    asked.push(url.pathname);
    await sleep(init.timeoutMs);
    throw new EndpointFault('timeout');
  };
  const { desk, order, world, trail } = await openDesk(service, {}, { call });
  const exp = Math.floor(Date.now() / 1000) + 3000;
  const take = async (txn: string) => desk.take(await order({ txn }, { exp }));
  await take('first');
  world.aheadMs = elevenMinutesMs;
  hangs = true;
  return { take, trail, asked };
}

test.for([
  ['metadata', /well-known/],
  ['keys', /jwks/],
] as const)('W1: a service whose %s hang is used by those that are held', { timeout: 20_000 }, async ([, hanging]) => {
  const { take, trail, asked } = await openDeskBeside(hanging);
  // Over more than one fetch and the pause after it, or nothing would be seen of those that follow a failure.
  for (let i = 0; i < 6; i++) {
    const startedMs = performance.now();
    expect(String(await take(`txn-${i}`))).toMatch(/^\[token/);
    expect(performance.now() - startedMs).toBeLessThan(1500);
    await sleep(600);
  }
  expect(asked.length).toBeGreaterThan(1);
  expect(trail.exchanges).toEqual(Array.from({ length: 7 }, () => 'corp issued'));
  await sleep(2200);
  expect(unhandled).toEqual([]);
});
