import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader } from 'jose';
import { afterEach, expect, test } from 'vitest';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { agentId, openDesk, refusalOf } from '../fakes/token-desk.ts';
import { type FakeTokenService, type FakeTokenServiceOptions, openFakeTokenService } from '../fakes/token-service.ts';

const services: FakeTokenService[] = [];
const folder = mkdtempSync(join(tmpdir(), 'desk-'));

async function start(options: FakeTokenServiceOptions = {}): Promise<FakeTokenService> {
  const service = await openFakeTokenService(options);
  services.push(service);
  return service;
}

afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.close()));
});

test('an exchange names audience, resource, scopes, subject and actor, and nothing else', async () => {
  const service = await start();
  const { desk, order, svidAudiences, trail } = await openDesk(service);
  const wanted = await order({
    audience: ['crm', 'crm-eu'],
    resource: 'https://crm.example.org',
    scopes: ['b', 'a', 'b'],
  });
  const token = await desk.take(wanted);
  const { form, headers } = service.requests[0]!;
  expect([...new Set(form.keys())].toSorted().join(' ')).toBe(
    'actor_token actor_token_type audience client_assertion client_assertion_type grant_type ' +
      'requested_token_type resource scope subject_token subject_token_type',
  );
  expect(form.getAll('audience')).toEqual(['crm', 'crm-eu']);
  expect(form.getAll('resource')).toEqual(['https://crm.example.org']);
  expect(form.get('scope')).toBe('a b');
  expect(form.get('grant_type')).toBe('urn:ietf:params:oauth:grant-type:token-exchange');
  expect(form.get('requested_token_type')).toBe('urn:ietf:params:oauth:token-type:access_token');
  expect(form.get('actor_token_type')).toBe('urn:ietf:params:oauth:token-type:jwt');
  expect(form.get('client_assertion_type')).toBe('urn:ietf:params:oauth:client-assertion-type:jwt-spiffe');
  // The assertion and the actor token are good at this service alone: their one audience is its issuer.
  for (const name of ['client_assertion', 'actor_token']) {
    expect(decodeJwt(form.get(name)!)).toMatchObject({ sub: agentId, aud: service.issuer });
  }
  expect(new Set(svidAudiences)).toEqual(new Set([service.issuer]));
  expect(headers['dpop']).toBeUndefined();
  expect(token.headers()[1]).toBe(`Bearer ${service.issued[0]}`);
  expect(token).toMatchObject({ service: 'corp', scopes: ['a', 'b'], tokenType: 'Bearer' });
  expect(trail.exchanges).toEqual(['corp issued']);
  expect(trail.issuedTokens).toMatchObject([
    { txn: 'txn-1', tool: 'crm', service: 'corp', cause: 'first', credential: { id: token.id, from: 'exchange' } },
  ]);
});

test('a bound token is asked for with a proof by the key of the order', async () => {
  const service = await start();
  const { desk, order } = await openDesk(service);
  const proofKey = makeProofKey();
  const token = await desk.take(await order({ proofKey }));
  const { headers, proof } = service.requests[0]!;
  const { jwk } = decodeProtectedHeader(String(headers['dpop']));
  expect(await calculateJwkThumbprint(jwk!)).toBe(proofKey.jkt);
  expect(proof).not.toHaveProperty('ath');
  expect(token.tokenType).toBe('DPoP');
  expect(token.headers()[1]).toBe(`DPoP ${service.issued[0]}`);
});

test('a demanded nonce is answered once, kept, and its successor used the next time', async () => {
  const service = await start({ demandNonce: true });
  const { desk, order } = await openDesk(service);
  const proofKey = makeProofKey();
  await desk.take(await order({ proofKey }));
  expect(service.requests.map(({ proof }) => proof?.['nonce'])).toEqual([undefined, 'first-nonce']);
  expect(service.requests[0]!.proof!.jti).not.toBe(service.requests[1]!.proof!.jti);
  await desk.take(await order({ proofKey, txn: 'txn-2' }));
  expect(service.counts.token).toBe(3);
});

test('a service that demands one nonce after the other is asked twice and no more', async () => {
  const service = await start({ lie: 'nonce_for_ever' });
  const { desk, order } = await openDesk(service);
  const wanted = await order({ proofKey: makeProofKey() });
  const refusal = await refusalOf(() => desk.take(wanted));
  expect([refusal.code, service.counts.token]).toEqual(['exchange_refused', 2]);
});

test('a token for the agent itself is asked for without subject and actor', async () => {
  const service = await start();
  const { desk, order } = await openDesk(service);
  await desk.take(await order({ grant: 'client_credentials', subject: undefined }));
  const { form } = service.requests[0]!;
  expect(form.get('grant_type')).toBe('client_credentials');
  expect([form.has('subject_token'), form.has('actor_token')]).toEqual([false, false]);
});

test('the actor may be a token of our own from the same service, fetched once for several exchanges', async () => {
  const service = await start();
  const { desk, order } = await openDesk(service, { actor: 'client_credentials' });
  await desk.take(await order());
  await desk.take(await order({ txn: 'txn-2' }));
  expect(service.requests.map(({ form }) => form.get('grant_type')?.split(':').at(-1))).toEqual([
    'client_credentials',
    'token-exchange',
    'token-exchange',
  ]);
  expect(service.requests[1]!.form.get('actor_token')).toBe(service.issued[0]);
});

test.for(['client_secret_basic', 'client_secret_post'] as const)(
  '%s sends the secret of the file as it is at that moment',
  async (method) => {
    const secret = 'pa:ss +%ü/&=';
    const service = await start({ secret });
    const file = join(folder, method);
    writeFileSync(file, 'old one');
    const settings = {
      client_auth: method,
      client_id: 'invoice:bot',
      client_secret_file: file,
      actor: 'none',
    } as const;
    const { desk, order } = await openDesk(service, {
      ...settings,
      expect: { sub: 'same', act: 'none', typ: ['at+jwt'] },
    });
    const first = await order();
    expect((await refusalOf(() => desk.take(first))).code).toBe('token_service_unavailable');
    writeFileSync(file, `${secret}\n`);
    await desk.take(await order({ txn: 'txn-2' }));
    const { form, headers } = service.requests[1]!;
    if (method === 'client_secret_post') {
      expect([form.get('client_id'), form.get('client_secret')]).toEqual(['invoice:bot', secret]);
    } else {
      expect(Buffer.from(headers.authorization!.slice(6), 'base64').toString()).toMatch(/^invoice%3Abot:pa%3Ass\+%2B/);
    }
    rmSync(file);
    const third = await order({ txn: 'txn-3' });
    expect((await refusalOf(() => desk.take(third))).code).toBe('identity_unavailable');
  },
);

test('endpoints of the configuration take the place of discovery', async () => {
  const service = await start({ metadata: () => ({ issuer: 'https://nobody.example.org' }) });
  const { origin } = new URL(service.issuer);
  const endpoints = { token: `${origin}/token`, jwks: `${origin}/jwks` };
  const { desk, order } = await openDesk(service, { endpoints });
  await desk.take(await order());
  expect(service.counts).toMatchObject({ metadata: 0, token: 1, jwks: 1 });
});

test('an issuer with a path is found at its own place', async () => {
  const service = await start({ path: '/realms/corp' });
  const { desk, order } = await openDesk(service);
  await desk.take(await order());
  expect(service.counts.metadata).toBe(1);
});
