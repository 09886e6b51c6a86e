import { afterEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openDesk, refusalOf } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;

afterEach(() => service.close());

test('the end of a task takes its tokens out of use at once and back to their issuer', async () => {
  service = await openFakeTokenService();
  const { desk, trail, order } = await openDesk(service);
  const [crm, mail] = [
    await order(),
    await order({ tool: 'mail', toolOrigin: 'https://mail.example.org', audience: ['mail'] }),
  ];
  const other = await order({ txn: 'txn-2' });
  const [crmToken] = [await desk.take(crm), await desk.take(mail)];
  const otherToken = await desk.take(other);
  expect(desk.held().map(({ txn, tool }) => `${txn} ${tool}`)).toEqual(['txn-1 crm', 'txn-1 mail', 'txn-2 crm']);
  expect(desk.dropTask('txn-1', 'completed')).toEqual({ dropped: 2, revocations_queued: 2 });
  expect(desk.held().map(({ token }) => token)).toEqual([otherToken]);
  await eventually('both are revoked', () => trail.revokedTokens.length === 2);
  expect(service.revoked.toSorted()).toEqual(service.issued.slice(0, 2).toSorted());
  expect(trail.revocations).toEqual(['completed revoked', 'completed revoked']);
  expect(trail.revokedTokens.map(({ credential }) => credential.id)).toContain(crmToken.id);
  // The task is over: an order that somebody still holds gets nothing.
  expect((await refusalOf(() => desk.take(crm))).code).toBe('grant_dead');
  expect(desk.dropTask('txn-1', 'completed')).toEqual({ dropped: 0, revocations_queued: 0 });
  expect(desk.take(other)).toBe(otherToken);
});

test('a token that arrives after its task ended is revoked, and whoever waited is refused', async () => {
  service = await openFakeTokenService({ delayMs: 60 });
  const { desk, trail, order } = await openDesk(service);
  const wanted = await order();
  const waiting = refusalOf(() => desk.take(wanted));
  await eventually('the service is asked', () => service.counts.token === 1);
  expect(desk.dropTask('txn-1', 'revoked')).toEqual({ dropped: 0, revocations_queued: 0 });
  expect((await waiting).code).toBe('grant_dead');
  await eventually('it is revoked', () => trail.revokedTokens.length === 1);
  expect([trail.issuedTokens, trail.revocations]).toEqual([[], ['task_ended revoked']]);
});

test('a tool can lose all its tokens while its tasks go on', async () => {
  service = await openFakeTokenService();
  const { desk, order } = await openDesk(service);
  const [crm, mail] = [await order(), await order({ tool: 'mail', audience: ['mail'] })];
  await desk.take(crm);
  await desk.take(mail);
  expect(desk.dropTool('crm', 'revoked')).toEqual({ dropped: 1, revocations_queued: 1 });
  expect(desk.held().map(({ tool }) => tool)).toEqual(['mail']);
  await desk.take(crm);
});

test('a tool loses its own tokens, also where another tool at the same place would have had the same', async () => {
  service = await openFakeTokenService();
  const { desk, order } = await openDesk(service);
  const first = await order({ tool: 'reader' });
  const second = await order({ tool: 'writer', subject: first.subject });
  const tokens = [await desk.take(first), await desk.take(second)];
  expect(desk.dropTool('writer', 'revoked')).toEqual({ dropped: 1, revocations_queued: 1 });
  await eventually('it is revoked', () => service.revoked.length === 1);
  expect(service.revoked).toEqual([tokens[1]?.reveal()]);
  expect(desk.held().map(({ tool }) => tool)).toEqual(['reader']);
});

test('a token that was replaced goes back with its task', async () => {
  service = await openFakeTokenService();
  const { desk, world, trail, order } = await openDesk(service);
  const wanted = await order({ useForMs: 100_000 });
  await desk.take(wanted);
  world.aheadMs = 90_000;
  void desk.take(wanted);
  await eventually('the refresh lands', () => trail.issuedTokens.length === 2);
  expect(desk.dropTask('txn-1', 'expired')).toEqual({ dropped: 2, revocations_queued: 2 });
  await eventually('both are revoked', () => trail.revokedTokens.length === 2);
});

test('a token that has ended by itself is not sent back', async () => {
  service = await openFakeTokenService({ lifeSeconds: 60 });
  const { desk, world, order } = await openDesk(service);
  await desk.take(await order());
  world.aheadMs = 61_000;
  expect(desk.dropTask('txn-1', 'completed')).toEqual({ dropped: 0, revocations_queued: 0 });
});

test('a service that is down is asked again later, and the answer that it will not is an end', async () => {
  service = await openFakeTokenService();
  const { desk, trail, order } = await openDesk(service);
  await desk.take(await order());
  service.revokeStatus = 503;
  desk.dropTask('txn-1', 'completed');
  await eventually('it was asked', () => service.counts.revoke === 1);
  expect(trail.revocations).toEqual([]);
  service.revokeStatus = 200;
  await eventually('it is asked again', () => trail.revokedTokens.length === 1);
  expect(trail.revocations).toEqual(['completed revoked']);

  await desk.take(await order({ txn: 'txn-2' }));
  service.revokeStatus = 400;
  service.revokeBody = '{"error":"unsupported_token_type"}';
  desk.dropTask('txn-2', 'failed');
  await eventually('it is over', () => trail.revocations.length === 2);
  expect([trail.revocations[1], service.counts.revoke]).toEqual(['failed unsupported', 3]);
});

test('where there is no way to revoke, the count says so', async () => {
  service = await openFakeTokenService({ metadata: ({ revocation_endpoint: _gone, ...metadata }) => metadata });
  const { desk, trail, order } = await openDesk(service);
  await desk.take(await order());
  expect(desk.dropTask('txn-1', 'completed')).toEqual({ dropped: 1, revocations_queued: 0 });
  expect(trail.revocations).toEqual(['completed unsupported']);
});

test('closing takes everything back, exchanges under way too, and does not wait for ever', async () => {
  service = await openFakeTokenService({ delayMs: 40 });
  const { desk, order } = await openDesk(service);
  await desk.take(await order());
  const late = await order({ txn: 'txn-2' });
  const waiting = refusalOf(() => desk.take(late));
  await desk.close(2000);
  expect((await waiting).code).toBe('grant_dead');
  expect(service.revoked.toSorted()).toEqual(service.issued.toSorted());
  const after = await order({ txn: 'txn-3' });
  expect((await refusalOf(() => desk.take(after))).code).toBe('overloaded');
  expect(service.counts.token).toBe(2);

  const second = await openDesk(service);
  await second.desk.take(await second.order());
  service.revokeStatus = 503;
  const before = performance.now();
  await second.desk.close(200);
  expect(performance.now() - before).toBeLessThan(500);
});
