import { decodeJwt } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { eventually } from '../fakes/eventually.ts';
import { openMintingDomain, type MintingDomain } from '../fakes/jwt-svid-mint.ts';
import { agentId, type DeskUnderTest, openDesk, refusalOf } from '../fakes/token-desk.ts';

const crm = 'https://crm.example.org';

let domain: MintingDomain;
let service: TokenService;

beforeAll(async () => {
  domain = await openMintingDomain('example.org');
  service = await openTokenService({
    clients: [{ clientId: 'invoice-bot', auth: 'spiffe_jwt', spiffeId: agentId, scopes: ['crm.read'] }],
    resources: [{ resource: crm, audience: 'crm', scopes: ['crm.read', 'crm.write'] }],
    spiffe: domain,
    accessTokenTtlSeconds: 300,
    demandNonce: true,
  });
});

afterAll(async () => {
  expect(service.faults).toEqual([]);
  await service.close();
});

function open(
  verify: 'jwt' | 'introspect' = 'jwt',
  actor: 'jwt-svid' | 'client_credentials' = 'jwt-svid',
): Promise<DeskUnderTest> {
  const { issuer } = service;
  const subjectToken = (): Promise<string> =>
    service.mintSubjectToken({ sub: 'alice', audience: 'invoice-bot', scopes: ['crm.read'], ttlSeconds: 600 });
  return openDesk({ issuer, subjectToken }, { verify, actor }, { domain });
}

test.for(['jwt', 'introspect'] as const)(
  'an exchange for a bound token, checked by %s, and its way back',
  async (verify) => {
    const { desk, trail, order } = await open(verify);
    const wanted = await order({ proofKey: makeProofKey(), audience: [], resource: crm, toolOrigin: crm });
    const token = await desk.take(wanted);
    expect(token).toMatchObject({ tokenType: 'DPoP', audience: [crm], scopes: ['crm.read'] });
    expect(desk.take(wanted)).toBe(token);
    desk.dropTask('txn-1', 'completed');
    await eventually('it is revoked', () => trail.revocations.length === 1);
    expect(trail.revocations).toEqual(['completed revoked']);
    expect(await service.revokeToken(token.reveal())).toBe(false);
  },
);

test('a bearer token, and one of the agent itself', async () => {
  const { desk, order } = await open();
  const user = await desk.take(await order({ audience: [], resource: crm }));
  const own = await desk.take(
    await order({ txn: 'own', grant: 'client_credentials', subject: undefined, audience: [], resource: crm }),
  );
  expect([user.tokenType, own.tokenType]).toEqual(['Bearer', 'Bearer']);
});

test.for(['jwt', 'introspect'] as const)(
  'a token of our own names us as actor by our name at the service, checked by %s',
  async (verify) => {
    const { desk, trail, order } = await open(verify, 'client_credentials');
    const token = await desk.take(await order({ audience: [], resource: crm }));
    const claims = decodeJwt(token.reveal());
    expect(claims).toMatchObject({ sub: 'alice', aud: crm, act: { sub: 'invoice-bot', iss: service.issuer } });
    expect(trail.rejectedTokens).toEqual([]);
  },
);

test('what the service does not grant is refused, not widened', async () => {
  const { desk, trail, order } = await open();
  const wider = await order({ audience: [], resource: crm, scopes: ['crm.write'] });
  expect((await refusalOf(() => desk.take(wider))).code).toBe('exchange_refused');
  const nowhere = await order({ txn: 'b', audience: [], resource: 'https://nowhere.example.org' });
  expect((await refusalOf(() => desk.take(nowhere))).code).toBe('exchange_refused');
  expect(trail.rejectedTokens).toEqual([]);
});
