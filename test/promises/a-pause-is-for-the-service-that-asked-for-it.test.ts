import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { serviceProfiles } from '../../config/service-profiles.ts';
import type { EndpointCall } from '../../proxy/exchange/endpoint.ts';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { openTokenDesk } from '../../proxy/exchange/token-desk.ts';
import { makeTokenOrder } from '../../proxy/exchange/token-order.ts';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { openStrictService, type StrictService } from '../fakes/strict-service.ts';
import { callEndpoint, RecordingTrail, refusalOf, shiftedWorld } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

const secret = 'secret-at-the-idp-0123456789';
const secretFile = join(mkdtempSync(join(tmpdir(), 'waybill-pause-')), 'secret');
writeFileSync(secretFile, secret);

/** The service that knows the user, and one in front of the tool that wants a nonce in each proof. */
let idp: StrictService;
let other: FakeTokenService;

beforeAll(async () => {
  idp = await openStrictService({ clients: { agent: secret }, knownAs: 'agent' });
  other = await openFakeTokenService({ demandNonce: true });
});
afterAll(async () => {
  await idp?.close();
  await other?.close();
});

function settingsOf(issuer: string): ServiceSettings {
  return {
    issuer,
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
}

/** The first statement is given; whoever asks for another one is to wait for a minute. */
function pausingIdp(): EndpointCall {
  let asked = 0;
  return async (url, init) => {
    if (url.origin !== new URL(idp.issuer).origin || init.method !== 'POST') return callEndpoint(url, init);
    asked++;
    if (asked === 1) return callEndpoint(url, init);
    return { status: 429, headers: { 'retry-after': '60' }, body: '{"error":"slow_down"}' };
  };
}

function openDesk(serviceErrors: string[]) {
  return openTokenDesk({
    services: new Map([
      ['idp', settingsOf(idp.issuer)],
      ['other', settingsOf(other.issuer)],
    ]),
    world: shiftedWorld(),
    call: pausingIdp(),
    x509Svids: { certificate: () => undefined },
    clusterTokens: { readToken: () => Promise.reject(new Error('no cluster')) },
    onServiceError: (name) => serviceErrors.push(name),
    onDeadGrant: () => undefined,
    jwtSvids: { fetchJwtSvid: () => Promise.reject(new Error('no identity')) },
    trail: new RecordingTrail(),
  });
}

test('W1: a grantor that asks for a pause stops only what needs the grantor', async () => {
  const serviceErrors: string[] = [];
  const desk = openDesk(serviceErrors);
  const shared = { service: 'other', issuer: other.issuer, useForMs: 60_000, proofKey: makeProofKey() };
  const subject = {
    token: new Secret(await idp.subjectToken()),
    tokenType: 'urn:ietf:params:oauth:token-type:access_token',
    iss: idp.issuer,
    sub: 'alice',
    expiresAtMs: Date.now() + 600_000,
  };
  const crm = { txn: '1', tool: 'crm', toolOrigin: 'https://crm.example.org', audience: [], scopes: ['crm.read'] };
  const grantedBy = { service: 'idp', issuer: idp.issuer };
  const resource = 'https://crm.example.org';
  const ofTwoLegs = makeTokenOrder({ ...shared, ...crm, grant: 'id_jag', grantedBy, subject, resource });
  const refusal = await refusalOf(() => desk.take(ofTwoLegs));
  expect([refusal.code, refusal.retryAfter, other.counts.token]).toEqual(['token_service_unavailable', 60, 1]);

  const mail = { txn: '2', tool: 'mail', toolOrigin: 'https://mail.example.org', audience: ['mail'] };
  const ofOne = makeTokenOrder({ ...shared, ...mail, grant: 'client_credentials', scopes: ['mail.read'] });
  expect(String(await desk.take(ofOne))).toMatch(/^\[token/);
  expect(serviceErrors).not.toContain('other');
});
