import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { serviceProfiles } from '../../config/service-profiles.ts';
import type { EndpointCall } from '../../proxy/exchange/endpoint.ts';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { openTokenDesk } from '../../proxy/exchange/token-desk.ts';
import { makeTokenOrder } from '../../proxy/exchange/token-order.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { RecordingTrail, refusalOf, shiftedWorld } from '../fakes/token-desk.ts';

const file = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'identity-chaining.json');

interface Vectors {
  readonly jwk: object;
  readonly grant: string;
  readonly claims: { readonly iss: string; readonly aud: string; readonly sub: string };
  readonly verifyAt: number;
  readonly exchangeRequest: Readonly<Record<string, string>>;
  readonly exchangeResponse: Readonly<Record<string, unknown>>;
  readonly redeemRequest: Readonly<Record<string, string>>;
}

const vectors = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Vectors) : undefined;

/** Both legs of the draft's example at two services that answer as it says, at its time. */
async function run(given: Vectors, answer = given.exchangeResponse, secondsLater = 0) {
  const asked: Record<string, Record<string, string>> = {};
  const call: EndpointCall = async (url, { body = '' }) => {
    const reply = (json: unknown) => ({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(json),
    });
    if (url.pathname === '/jwks') return reply({ keys: [given.jwk] });
    asked[url.origin] = Object.fromEntries(new URLSearchParams(body));
    if (url.origin === new URL(given.claims.iss).origin) return reply(answer);
    return reply({ access_token: 'opaque-token-of-the-other-domain', token_type: 'Bearer', expires_in: 60 });
  };
  const world = shiftedWorld();
  world.aheadMs = (given.verifyAt + secondsLater) * 1000 - Date.now();
  const shared: Omit<ServiceSettings, 'issuer'> = {
    client_auth: 'spiffe_jwt',
    actor: 'none',
    bound_subject: 'accept',
    verify: 'response-only',
    expect: { ...serviceProfiles.rfc8693.expect, act: 'any' },
    dialect: serviceProfiles.rfc8693.dialect,
    max_lifetime: 3_600_000,
    timeout: 2000,
  };
  const settingsOf = (issuer: string): ServiceSettings => {
    const { origin } = new URL(issuer);
    return { ...shared, issuer, endpoints: { token: `${origin}/token`, jwks: `${origin}/jwks` } };
  };
  const { iss, aud, sub } = given.claims;
  const trail = new RecordingTrail();
  const desk = openTokenDesk({
    services: new Map([
      ['a', settingsOf(iss)],
      ['b', settingsOf(aud)],
    ]),
    world,
    call,
    x509Svids: { certificate: () => undefined },
    clusterTokens: { readToken: () => Promise.reject(new Error('no cluster')) },
    onDeadGrant: () => undefined,
    onServiceError: () => undefined,
    jwtSvids: {
      fetchJwtSvid: async () => ({
        token: () => 'an-svid',
        spiffeId: 'spiffe://a.example/agent',
        expiresAtMs: Infinity,
      }),
    },
    trail,
  });
  const { subject_token: token = '', subject_token_type: tokenType = '' } = given.exchangeRequest;
  const order = makeTokenOrder({
    txn: 'txn-1',
    tool: 'crm',
    toolOrigin: 'https://crm.b.example',
    service: 'b',
    issuer: aud,
    grant: 'identity_chaining',
    grantedBy: { service: 'a', issuer: iss },
    subject: { token: new Secret(token), tokenType, iss, sub, expiresAtMs: world.now() + 600_000 },
    audience: [],
    useForMs: 300_000,
  });
  const sent = (issuer: string): Record<string, string> => {
    const { client_assertion: _svid, client_assertion_type: _type, ...form } = asked[new URL(issuer).origin] ?? {};
    return form;
  };
  return { take: async () => desk.take(order), sent, trail };
}

test('both legs of the example are asked for as the draft says, and its grant is taken', async ({ skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const { take, sent } = await run(vectors);
  expect((await take()).reveal()).toBe('opaque-token-of-the-other-domain');
  // One more than the example: we always say what we want.
  const { requested_token_type: said, ...first } = sent(vectors.claims.iss);
  expect(first).toEqual(vectors.exchangeRequest);
  expect(said).toBe('urn:ietf:params:oauth:token-type:jwt');
  expect(sent(vectors.claims.aud)).toEqual(vectors.redeemRequest);
});

test.for([
  ['over', {}, 200, 'time'],
  ['said to be a bearer token', { token_type: 'Bearer' }, 0, 'token_type'],
  [
    'said to be an access token',
    { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
    0,
    'issued_token_type',
  ],
  ['with another signature', {}, 0, 'signature'],
] as const)('a grant that is %s goes nowhere', async ([what, change, later, cause], { skip }) => {
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const grant = what === 'with another signature' ? { access_token: forged(vectors.grant) } : {};
  const { take, sent, trail } = await run(vectors, { ...vectors.exchangeResponse, ...change, ...grant }, later);
  expect((await refusalOf(take)).code).toBe('token_rejected');
  expect(trail.rejectedTokens).toMatchObject([{ service: 'a', cause }]);
  expect(sent(vectors.claims.aud)).toEqual({});
});

/** The same claims with one byte of the signature changed. */
function forged(token: string): string {
  const [header, payload, signature = ''] = token.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  bytes[5] = (bytes[5] ?? 0) ^ 1;
  return [header, payload, bytes.toString('base64url')].join('.');
}
