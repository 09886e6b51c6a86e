import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type JWK, SignJWT } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { eventually } from '../fakes/eventually.ts';
import { openDesk, refusalOf } from '../fakes/token-desk.ts';
import { openCertifiedProvider, type CertifiedProvider } from '../stage/certified-provider.ts';
import { openTlsDesks, type TlsDesks } from '../stage/tls-desks.ts';

const crm = 'https://crm.example.org';
const folder = mkdtempSync(join(tmpdir(), 'desk-real-'));
const keys = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  EdDSA: generateKeyPairSync('ed25519'),
} as const;
const foreign = generateKeyPairSync('ec', { namedCurve: 'P-256' });

let service: TokenService;
let desks: TlsDesks;
let provider: CertifiedProvider;

const publicJwk = (alg: keyof typeof keys): JWK => ({
  ...keys[alg].publicKey.export({ format: 'jwk' }),
  kid: alg,
  alg,
});

beforeAll(async () => {
  const jwks = (['ES256', 'ES384', 'RS256', 'EdDSA'] as const).map(publicJwk);
  service = await openTokenService({
    clients: [{ clientId: 'invoice-bot', auth: 'private_key_jwt', jwks, scopes: ['crm.read'] }],
    resources: [{ resource: crm, audience: 'crm', scopes: ['crm.read'] }],
    accessTokenTtlSeconds: 300,
    demandNonce: true,
  });
  desks = await openTlsDesks();
  provider = await openCertifiedProvider(desks.serverTls, crm);
});
afterAll(async () => {
  expect(service.faults).toEqual([]);
  await Promise.all([service.close(), provider.close(), desks.close()]);
  desks.remove();
  rmSync(folder, { recursive: true });
});

function openKeyed(key: KeyObject, more: object = {}) {
  const file = join(
    folder,
    createHash('sha256')
      .update(key.export({ type: 'pkcs8', format: 'der' }))
      .digest('hex'),
  );
  writeFileSync(file, key.export({ type: 'pkcs8', format: 'pem' }));
  const { issuer } = service;
  const subjectToken = (): Promise<string> =>
    service.mintSubjectToken({ sub: 'alice', audience: 'invoice-bot', scopes: ['crm.read'], ttlSeconds: 600 });
  const settings = { client_auth: 'private_key_jwt', client_id: 'invoice-bot', client_key_file: file } as const;
  return openDesk({ issuer, subjectToken }, { ...settings, actor: 'none', expect: { act: 'any' }, ...more });
}

test.for(['ES256', 'ES384', 'RS256', 'EdDSA'] as const)(
  'an assertion by a key for %s is taken for an exchange, its check and its way back',
  async (alg) => {
    const { desk, trail, order } = await openKeyed(keys[alg].privateKey, { client_key_id: alg, verify: 'introspect' });
    const token = await desk.take(await order({ proofKey: makeProofKey(), audience: [], resource: crm }));
    expect(token).toMatchObject({ tokenType: 'DPoP', audience: [crm] });
    desk.dropTask('txn-1', 'completed');
    await eventually('it is revoked', () => trail.revocations.length === 1);
    expect(trail.revocations).toEqual(['completed revoked']);
    expect(await service.revokeToken(token.reveal())).toBe(false);
  },
);

test('one by another key, for another audience or of another type is not', async () => {
  const older = { audience: 'token_endpoint', typ: 'client-authentication+jwt' };
  const untyped = { audience: 'issuer', typ: 'JWT' };
  for (const [key, more] of [
    [foreign.privateKey, {}],
    [keys.ES256.privateKey, { assertion: older }],
    [keys.ES256.privateKey, { assertion: untyped }],
    [keys.ES256.privateKey, { client_id: 'somebody' }],
  ] as const) {
    const { desk, order } = await openKeyed(key, more);
    const wanted = await order({ audience: [], resource: crm });
    expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
  }
});

test('an assertion is taken once', async () => {
  const assertion = await new SignJWT({ jti: 'only-once' })
    .setProtectedHeader({ alg: 'ES256', kid: 'ES256', typ: 'client-authentication+jwt' })
    .setIssuer('invoice-bot')
    .setSubject('invoice-bot')
    .setAudience(service.issuer)
    .setIssuedAt()
    .setExpirationTime('60s')
    .sign(keys.ES256.privateKey);
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    resource: crm,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: assertion,
  });
  const ask = () => fetch(`${service.issuer}/token`, { method: 'POST', body });
  expect([(await ask()).status, (await ask()).status]).toEqual([200, 401]);
});

test('oidc-provider knows us by the URI of our SVID, and binds its tokens to it', async () => {
  const svids = await desks.svids();
  const under = await desks.desk(provider, { client_auth: 'spiffe_x509' }, svids);
  const own = { grant: 'client_credentials', subject: undefined, audience: [], resource: crm } as const;
  const bound = await under.desk.take(await under.order({ ...own, certificate: svids.current }));
  expect(bound).toMatchObject({ tokenType: 'Bearer', audience: [crm] });
  // An SVID of somebody else, and one of ours that nobody vouches for.
  const other = await desks.svid('spiffe://example.org/other');
  svids.current = other;
  const foreignOrder = await under.order({ ...own, txn: 'txn-2', certificate: other });
  expect((await refusalOf(() => under.desk.take(foreignOrder))).code).toBe('token_service_unavailable');
  expect(provider.faults).toEqual([]);
});
