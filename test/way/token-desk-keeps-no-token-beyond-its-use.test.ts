import { afterEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openDesk, statingLife } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;

afterEach(() => service.close());

test('a token goes back when its use is over, though nobody calls in its task any more', async () => {
  service = await openFakeTokenService({ lifeSeconds: 300 });
  const { desk, trail, order } = await openDesk(service);
  const long = await order({ txn: 'another' });
  const kept = await desk.take(long);
  await desk.take(await order({ useForMs: 200 }));
  await eventually('it goes back', () => service.revoked.length === 1);
  await eventually('it is told', () => trail.revocations.length === 1);
  expect([service.revoked, trail.revocations]).toEqual([[service.issued[1]], ['expired revoked']]);
  expect(await desk.take(long)).toBe(kept);
});

test('so does one that was replaced ahead of its end', async () => {
  service = await openFakeTokenService({ lifeSeconds: 300 });
  const { desk, trail, order } = await openDesk(service);
  const wanted = await order({ useForMs: 1000 });
  await desk.take(wanted);
  await eventually('it is fetched anew', async () => {
    await desk.take(wanted);
    return service.issued.length === 2;
  });
  expect(service.revoked).toEqual([]);
  await eventually('both go back', () => service.revoked.length === 2);
  expect(service.revoked.toSorted()).toEqual(service.issued.toSorted());
  await eventually('it is told', () => trail.revocations.length === 2);
  // Which of the two answers comes first is the service's affair.
  expect(trail.revocations.toSorted()).toEqual(['expired revoked', 'superseded revoked']);
});

test('so does one that lives on though its service called it over', async () => {
  service = await openFakeTokenService({ lifeSeconds: 300 });
  const { desk, order } = await openDesk(service, {}, { call: statingLife(1) });
  await desk.take(await order());
  await eventually('it goes back', () => service.revoked.length === 1);
});

test('one that its service would not take any more is not sent there', async () => {
  service = await openFakeTokenService({ lifeSeconds: 1 });
  const { desk, order } = await openDesk(service);
  await desk.take(await order());
  await new Promise((done) => setTimeout(done, 2500));
  expect(service.counts.revoke).toBe(0);
});
