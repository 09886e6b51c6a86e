import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { serviceProfiles } from '../../config/service-profiles.ts';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { openTokenDesk, type TokenDesk } from '../../proxy/exchange/token-desk.ts';
import { makeTokenOrder } from '../../proxy/exchange/token-order.ts';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { openStrictService, type StrictService } from '../fakes/strict-service.ts';
import { callEndpoint, RecordingTrail, refusalOf, shiftedWorld } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

const secret = 'secret-at-the-idp-0123456789';
const secretFile = join(mkdtempSync(join(tmpdir(), 'statement-')), 'secret');
writeFileSync(secretFile, secret);

/** The service that knows the user, and one in front of the tool that wants a nonce in each proof. */
let idp: StrictService;
let other: FakeTokenService;

afterEach(async () => {
  await idp?.close();
  await other?.close();
});

async function open(): Promise<TokenDesk> {
  idp = await openStrictService({ clients: { agent: secret }, knownAs: 'agent' });
  other = await openFakeTokenService({ demandNonce: true });
  const shared: Omit<ServiceSettings, 'issuer'> = {
    client_auth: 'client_secret_basic',
    client_id: 'agent',
    client_secret_file: secretFile,
    actor: 'none',
    bound_subject: 'accept',
    verify: 'response-only',
    expect: { ...serviceProfiles.rfc8693.expect, act: 'any' },
    dialect: serviceProfiles.rfc8693.dialect,
    max_lifetime: 3_600_000,
    timeout: 2000,
  };
  return openTokenDesk({
    services: new Map([
      ['idp', { ...shared, issuer: idp.issuer }],
      ['other', { ...shared, issuer: other.issuer }],
    ]),
    world: shiftedWorld(),
    call: callEndpoint,
    x509Svids: { certificate: () => undefined },
    clusterTokens: { readToken: () => Promise.reject(new Error('no cluster')) },
    onServiceError: () => undefined,
    onDeadGrant: () => undefined,
    jwtSvids: { fetchJwtSvid: () => Promise.reject(new Error('no identity')) },
    trail: new RecordingTrail(),
  });
}

async function orderOf(txn: string, grant: 'id_jag' | 'identity_chaining') {
  const tokenType = 'urn:ietf:params:oauth:token-type:access_token';
  return makeTokenOrder({
    txn,
    tool: 'crm',
    toolOrigin: 'https://crm.example.org',
    service: 'other',
    issuer: other.issuer,
    grant,
    grantedBy: { service: 'idp', issuer: idp.issuer },
    subject: {
      token: new Secret(await idp.subjectToken()),
      tokenType,
      iss: idp.issuer,
      sub: 'alice',
      expiresAtMs: Date.now() + 600_000,
    },
    audience: [],
    resource: 'https://crm.example.org',
    scopes: ['crm.read'],
    proofKey: makeProofKey(),
    useForMs: 60_000,
  });
}

const handedIn = (): (string | null)[] => other.requests.map(({ form }) => form.get('assertion'));

test.for(['id_jag', 'identity_chaining'] as const)(
  'a service that demands a nonce first gets another statement (%s)',
  async (grant) => {
    const desk = await open();
    for (const txn of ['1', '2']) expect((await desk.take(await orderOf(txn, grant))).tokenType).toBe('DPoP');
    // The first was told the nonce by a refusal, the second one knew it.
    expect(handedIn()).toEqual(idp.issued);
    expect(new Set(handedIn()).size).toBe(3);
  },
);

test('a service that demands one nonce after the other gets two statements and no more', async () => {
  const desk = await open();
  other.lie = 'nonce_for_ever';
  const order = await orderOf('1', 'id_jag');
  expect((await refusalOf(() => desk.take(order))).code).toBe('exchange_refused');
  expect(handedIn()).toEqual(idp.issued);
  expect(new Set(handedIn()).size).toBe(2);
});
