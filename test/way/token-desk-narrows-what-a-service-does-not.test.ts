import { afterEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openDesk, refusalOf, statingLife } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;

afterEach(() => service.close());

test.for([
  ['the subject token has another scope only', { scope: 'mail.read' }],
  ['the subject token does not say its scopes', {}],
  ['the subject token has a scope that begins alike', { scope: 'crm.read.none' }],
] as const)('W5: a granted scope that the user does not have is refused and revoked: %s', async ([, subject]) => {
  service = await openFakeTokenService();
  const { desk, trail, order } = await openDesk(service, { expect: { scopes: 'subject' } });
  const wanted = await order({}, subject);
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_rejected');
  expect(trail.rejectedTokens).toMatchObject([{ cause: 'scope' }]);
  await eventually('the token is revoked', () => service.revoked.length === 1);
});

test('a scope that the user has is granted, in either spelling of the claim', async () => {
  service = await openFakeTokenService();
  const { desk, order } = await openDesk(service, { expect: { scopes: 'subject' } });
  for (const claims of [{ scope: 'openid crm.read' }, { scp: ['crm.read'] }]) {
    expect((await desk.take(await order({}, claims))).scopes).toEqual(['crm.read']);
  }
});

test('W5: a token that outlives the user is refused where the profile says so, and else used no longer than the user', async () => {
  service = await openFakeTokenService({ lifeSeconds: 900 });
  const refusing = await openDesk(service, { expect: { life: 'refuse' } });
  const wanted = await refusing.order();
  expect((await refusalOf(() => refusing.desk.take(wanted))).code).toBe('token_rejected');
  expect(refusing.trail.rejectedTokens).toMatchObject([{ cause: 'lifetime' }]);
  await eventually('the token is revoked', () => service.revoked.length === 1);
  const cutting = await openDesk(service);
  const order = await cutting.order({ useForMs: 3_600_000 });
  const token = await cutting.desk.take(order);
  expect(token.expiresAtMs).toBe(order.subject?.expiresAtMs);
  expect(token.validUntilMs).toBeGreaterThan(token.expiresAtMs);
  expect(cutting.trail.cutTokens).toEqual([]);
});

test('W5: a short expires_in hides no token that outlives the user', async () => {
  service = await openFakeTokenService({ lifeSeconds: 900 });
  const call = statingLife(50);
  const refusing = await openDesk(service, { expect: { life: 'refuse' } }, { call });
  const wanted = await refusing.order();
  expect((await refusalOf(() => refusing.desk.take(wanted))).code).toBe('token_rejected');
  expect(refusing.trail.rejectedTokens).toMatchObject([{ cause: 'lifetime' }]);
  const cutting = await openDesk(service, { expect: { life: 'cut' } }, { call });
  const token = await cutting.desk.take(await cutting.order());
  expect(token.expiresAtMs - token.issuedAtMs).toBeLessThanOrEqual(50_000);
  expect(cutting.trail.cutTokens).toHaveLength(1);
});

test('a token that outlives the user is told of where the profile says so, unless it is by less than clocks may differ', async () => {
  service = await openFakeTokenService({ lifeSeconds: 620 });
  const { desk, trail, order } = await openDesk(service, { expect: { life: 'cut' } });
  await desk.take(await order());
  expect([trail.issuedTokens.length, trail.cutTokens]).toEqual([1, []]);
  const exp = Math.floor(Date.now() / 1000) + 300;
  const token = await desk.take(await order({ txn: 'txn-2' }, { exp }));
  expect(token.expiresAtMs).toBeLessThanOrEqual(exp * 1000);
  expect(trail.cutTokens).toMatchObject([
    { txn: 'txn-2', tool: 'crm', service: 'corp', cause: 'lifetime', credential: { id: token.id } },
  ]);
  expect(trail.rejectedTokens).toEqual([]);
});
