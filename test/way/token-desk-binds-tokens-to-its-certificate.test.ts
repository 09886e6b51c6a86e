import { decodeJwt } from 'jose';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import type { TlsTokenService } from '../fakes/tls-token-service.ts';
import { agentId, type DeskUnderTest, openDesk, refusalOf } from '../fakes/token-desk.ts';
import { openTlsDesks, type Svids, type TlsDesks, withAliases } from '../stage/tls-desks.ts';

let desks: TlsDesks;

beforeAll(async () => {
  desks = await openTlsDesks();
});
afterEach(() => desks.close());
afterAll(() => desks.remove());

test('W4, W5: a bound token is asked for with the certificate that it is bound to, and is another order for each', async () => {
  const service = await desks.start({ metadata: withAliases });
  const svids = await desks.svids();
  const under = await desks.desk(service, { client_auth: 'spiffe_jwt' }, svids);
  const [first, second] = [await desks.svid(), await desks.svid()];
  const one = await under.order({ certificate: first });
  const two = await under.order({ certificate: second, subject: one.subject });
  const bound = await under.desk.take(one);
  await under.desk.take(two);
  expect(one.key).not.toBe(two.key);
  expect(decodeJwt(bound.reveal())).toMatchObject({ cnf: { 'x5t#S256': first.thumbprint } });
  expect(bound.tokenType).toBe('Bearer');
  // The SVID of the connection binds; who we are is told by the assertion.
  expect(service.posts.map(({ path, x5t, form }) => [path, x5t, form.has('client_assertion')])).toEqual([
    ['/mtls/token', first.thumbprint, true],
    ['/mtls/token', second.thumbprint, true],
  ]);
});

/** A desk that sends a token of our own as `actor_token`. */
function withActor(service: TlsTokenService, x509Svids: Svids): Promise<DeskUnderTest> {
  const tls = { ca: desks.caFile };
  const { call } = desks.endpointsFor({ issuer: service.issuer, tls });
  const settings = { client_auth: 'spiffe_jwt', actor: 'client_credentials', tls, expect: { act: 'any' } } as const;
  return openDesk(service, settings, { call, x509Svids });
}

test('an actor token beside it is bound to nothing, and is asked for where nobody looks at certificates', async () => {
  const service = await desks.start({ metadata: withAliases });
  const under = await withActor(service, await desks.svids());
  const certificate = await desks.svid();
  await under.desk.take(await under.order({ certificate }));
  expect(service.posts.map(({ path, x5t }) => [path, x5t])).toEqual([
    ['/token', undefined],
    ['/mtls/token', certificate.thumbprint],
  ]);
});

test('an actor token is not used under another identity than the one that obtained it', async () => {
  const service = await desks.start();
  const svids = await desks.svids();
  const under = await withActor(service, svids);
  const actors: (string | null | undefined)[] = [];
  for (const [txn, id] of Object.entries({ a: agentId, b: agentId, c: `${agentId}-two` })) {
    svids.current = await desks.svid(id);
    await under.desk.take(await under.order({ txn }));
    actors.push(service.posts.at(-1)?.form.get('actor_token'));
  }
  expect([actors[1] === actors[0], actors[2] === actors[0]]).toEqual([true, false]);
});

test.for([
  ['nothing', () => undefined],
  ['another certificate', () => ({ 'x5t#S256': 'A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0' })],
  ['a key', () => ({ jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' })],
  [
    'a key beside the certificate',
    (x5t: string) => ({ 'x5t#S256': x5t, jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3ugu' }),
  ],
  ['the certificate in another spelling', (x5t: string) => ({ 'x5t#S256': `${x5t}=` })],
  ['the certificate under another name', (x5t: string) => ({ 'x5t#s256': x5t })],
] as const)('W5: a token that is bound to %s is rejected and revoked', async ([, bind]) => {
  for (const verify of ['jwt', 'introspect'] as const) {
    const service = await desks.start({ bind });
    const under = await desks.desk(service, { client_auth: 'spiffe_jwt', verify });
    const wanted = await under.order({ certificate: await desks.svid() });
    expect((await refusalOf(() => under.desk.take(wanted))).code).toBe('token_rejected');
    expect(under.trail.rejectedTokens).toMatchObject([{ cause: 'confirmation' }]);
    await eventually('it is revoked', () => service.revoked.length === 1);
  }
});

test('W5: a token that says nothing of itself is not taken for a bound one, nor a bound one for a plain one', async () => {
  const opaque = await desks.start({ opaque: true });
  const under = await desks.desk(opaque, { client_auth: 'spiffe_jwt', verify: 'response-only' });
  const wanted = await under.order({ certificate: await desks.svid() });
  expect((await refusalOf(() => under.desk.take(wanted))).code).toBe('token_rejected');
  const binding = await desks.start();
  const svids = await desks.svids();
  const plain = await desks.desk(binding, { client_auth: 'spiffe_x509' }, svids);
  const unbound = await plain.order();
  expect((await refusalOf(() => plain.desk.take(unbound))).code).toBe('token_rejected');
});

test('after a rotation the token of the old certificate is out of use at once, and goes back a little later', async () => {
  const service = await desks.start({ delayMs: 100 });
  const svids = await desks.svids();
  const under = await desks.desk(service, { client_auth: 'spiffe_jwt' }, svids);
  const old = svids.current;
  const order = await under.order({ certificate: old });
  const plain = await under.order({ txn: 'txn-plain', scopes: ['plain'] });
  const flying = await under.order({ txn: 'txn-2', certificate: old });
  const token = await under.desk.take(order);
  const unbound = await under.desk.take(plain);
  const late = under.desk.take(flying);
  svids.current = await desks.svid();
  under.desk.retireBound();
  // The exchange that was under way ends well for who waits for it.
  expect((await late).reveal()).toBe(service.issued.at(-1));
  expect(under.desk.held().map((held) => held.token)).toEqual([unbound]);
  expect(service.revoked).toEqual([]);
  under.world.aheadMs = 11_000;
  const next = await under.desk.take(await under.order({ certificate: svids.current }));
  await eventually('the old one goes back', () => service.revoked.includes(token.reveal()));
  expect(service.revoked).not.toContain(next.reveal());
  // What is left goes back with its task.
  under.desk.dropTask('txn-2', 'completed');
  await eventually('the late one too', () => service.revoked.length === 2);
  expect(service.revoked).not.toContain(unbound.reveal());
});
