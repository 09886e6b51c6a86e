import { afterEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openDesk, refusalOf } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;

afterEach(() => service.close());

test('an opaque token is taken as its answer says, and nobody is asked about it', async () => {
  service = await openFakeTokenService({ lie: 'opaque' });
  const { desk, order } = await openDesk(service, { verify: 'response-only' });
  const token = await desk.take(await order());
  expect(token.reveal()).toBe(service.issued[0]);
  expect(token).toMatchObject({ audience: ['crm'], scopes: ['crm.read'] });
  expect(service.counts).toMatchObject({ introspect: 0, jwks: 0 });
});

test.for([
  'wider_scope',
  'n_a',
  'dpop_unasked',
  'longer_expires_in',
  'other_issued_token_type',
  'details',
  'echo_subject',
])('W5: what the answer itself says is checked all the same: %s', async (lie) => {
  service = await openFakeTokenService({ lie });
  const { desk, trail, order } = await openDesk(service, { verify: 'response-only' });
  const wanted = await order();
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_rejected');
  expect(trail.rejectedTokens).toHaveLength(1);
  if (lie !== 'echo_subject') await eventually('it is revoked', () => service.revoked.length === 1);
});

test('W5: scopes that the answer leaves unsaid are those that were asked for, and no wider than the user has', async () => {
  service = await openFakeTokenService({ lie: 'no_scope' });
  const { desk, trail, order } = await openDesk(service, { verify: 'response-only', expect: { scopes: 'subject' } });
  const wanted = await order({}, { scope: 'mail.read' });
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_rejected');
  expect(trail.rejectedTokens).toMatchObject([{ cause: 'scope' }]);
});
