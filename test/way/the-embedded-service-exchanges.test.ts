import { calculateJwkThumbprint, createRemoteJWKSet, exportJWK, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { openMintingDomain, type MintingDomain } from '../fakes/jwt-svid-mint.ts';
import {
  discover,
  exchangeGrant,
  OAuthClient,
  refusalOf,
  spiffeJwt,
  tokenType,
  type Parameters,
} from '../fakes/oauth-client.ts';
import { tries } from '../stage/tries.ts';

const agentId = 'spiffe://example.org/invoice-bot';
const plannerId = 'spiffe://example.org/planner';
const toCrm: Parameters = [['resource', 'https://crm.example.org']];
const fromJwt = tokenType('jwt');

let domain: MintingDomain;
let service: TokenService;
let agent: OAuthClient;
let planner: OAuthClient;
let desk: OAuthClient;
/** What the service's clock is ahead of the real one, milliseconds. */
let ahead = 0;
let startMs = 0;

beforeAll(async () => {
  domain = await openMintingDomain('example.org');
  const before = performance.now();
  service = await openTokenService({
    clients: [
      { clientId: 'invoice-bot', auth: 'spiffe_jwt', spiffeId: agentId, scopes: ['crm.read', 'mail.send'] },
      { clientId: 'planner', auth: 'spiffe_jwt', spiffeId: plannerId, scopes: ['crm.read', 'bot.call'] },
      { clientId: 'desk', auth: 'client_secret_basic', clientSecret: 's3cret+/%', scopes: ['crm.read', 'crm.write'] },
    ],
    resources: [
      { resource: 'https://crm.example.org', audience: 'crm', scopes: ['crm.read', 'crm.write'] },
      { resource: 'https://mail.example.org', audience: 'mail', scopes: ['mail.send'] },
      { resource: 'https://invoice-bot.example.org', scopes: ['bot.call', 'crm.read'], client: 'invoice-bot' },
    ],
    subjects: [{ sub: 'alice' }, { sub: 'bob', mayAct: { sub: agentId } }],
    spiffe: domain,
    accessTokenTtlSeconds: 300,
    clock: () => Date.now() + ahead,
  });
  startMs = performance.now() - before;
  const as = await discover(service.issuer, 'oauth2');
  const { issuer } = service;
  agent = new OAuthClient(
    as,
    'invoice-bot',
    spiffeJwt(() => domain.mint(agentId, issuer)),
  );
  planner = new OAuthClient(
    as,
    'planner',
    spiffeJwt(() => domain.mint(plannerId, issuer), 'planner'),
  );
  desk = new OAuthClient(as, 'desk', oauth.ClientSecretBasic('s3cret+/%'));
});
afterAll(async () => {
  expect(service.faults).toEqual([]);
  await service.close();
});

const subjectToken = async (audience: string, scopes = ['crm.read'], sub = 'alice'): Promise<string> =>
  service.mintSubjectToken({ sub, audience, scopes, ttlSeconds: 600 });
const actor = async (spiffeId: string): Promise<Parameters> => [
  ['actor_token', await domain.mint(spiffeId, service.issuer)],
  ['actor_token_type', fromJwt],
];

test('it starts in less than 300 ms and describes itself by both ways of discovery', tries, async () => {
  expect(startMs).toBeLessThan(300);
  const [plain, openid] = await Promise.all([discover(service.issuer, 'oauth2'), discover(service.issuer, 'oidc')]);
  expect(openid).toEqual(plain);
  expect(plain.token_endpoint_auth_methods_supported).toContain('spiffe_jwt');
  expect(plain.grant_types_supported).toEqual(['client_credentials', exchangeGrant]);
});

test('a secret client exchanges a user token for a signed at+jwt of one resource', async () => {
  const granted = await desk.exchange(await subjectToken('desk'), [...toCrm, ['scope', 'crm.read']]);
  expect(granted).toMatchObject({ token_type: 'bearer', scope: 'crm.read', expires_in: 300 });
  expect(granted.issued_token_type).toBe(tokenType('access_token'));
  const keys = createRemoteJWKSet(new URL(`${service.issuer}/jwks`));
  const checks = { issuer: service.issuer, audience: 'https://crm.example.org', typ: 'at+jwt', algorithms: ['ES256'] };
  const { payload } = await jwtVerify(granted.access_token, keys, checks);
  expect(payload).toMatchObject({ sub: 'alice', client_id: 'desk', scope: 'crm.read' });
  expect(payload.jti).toBeTypeOf('string');
  expect(payload.iat).toBeTypeOf('number');
  expect(payload['act']).toBeUndefined();
});

test('a spiffe_jwt client is found by its SPIFFE ID and is the actor', async () => {
  const token = await subjectToken('invoice-bot');
  const granted = await agent.exchange(token, [...toCrm, ...(await actor(agentId))]);
  expect(granted.claims).toMatchObject({ sub: 'alice', client_id: 'invoice-bot', act: { sub: agentId } });
  expect(await agent.introspect(granted.access_token)).toMatchObject({ active: true, act: { sub: agentId } });
});

test('over two hops the older actor is inside the newer one, and the token is bound to the last key only', async () => {
  const [first, second] = [await oauth.generateKeyPair('ES256'), await oauth.generateKeyPair('ES256')];
  const toBot: Parameters = [['resource', 'https://invoice-bot.example.org']];
  const userToken = await subjectToken('planner', ['crm.read', 'bot.call']);
  const hop1 = await planner.exchange(
    userToken,
    [...toBot, ...(await actor(plannerId))],
    oauth.DPoP(planner.client, first),
  );
  expect(hop1.token_type).toBe('dpop');
  const dpop = oauth.DPoP(agent.client, second);
  // The key of the first hop stays there: without an actor token its token is not taken.
  expect(await refusalOf(agent.exchange(hop1.access_token, toCrm, dpop))).toBe('invalid_request');
  // Who holds that key may go on without one, and the chain stays as it was.
  const same = await agent.exchange(hop1.access_token, toCrm, oauth.DPoP(agent.client, first));
  expect(same.claims['act']).toEqual({ sub: plannerId });
  const hop2 = await agent.exchange(hop1.access_token, [...toCrm, ...(await actor(agentId))], dpop);
  const jkt = await calculateJwkThumbprint(await exportJWK(second.publicKey));
  expect(hop2.claims).toMatchObject({
    sub: 'alice',
    scope: 'crm.read',
    act: { sub: agentId, act: { sub: plannerId } },
    cnf: { jkt },
  });
});

test('several audiences are all in the token, as they were asked', async () => {
  const both: Parameters = [...toCrm, ['audience', 'mail'], ['audience', 'crm']];
  const token = await subjectToken('invoice-bot', ['crm.read', 'mail.send']);
  const granted = await agent.exchange(token, [...both, ...(await actor(agentId))]);
  expect(granted.claims['aud']).toEqual(['https://crm.example.org', 'mail', 'crm']);
  expect(granted.scope).toBe('crm.read mail.send');
});

test('scopes only narrow', async () => {
  const token = await subjectToken('desk', ['crm.read', 'mail.send']);
  const asked = async (scope: string, client = desk, subject = token): Promise<string> =>
    refusalOf(client.exchange(subject, [...toCrm, ['scope', scope]]));
  expect(await asked('crm.read')).toBe('granted');
  expect(await asked('crm.write')).toBe('invalid_scope'); // wider than the subject
  const forAgent = await subjectToken('invoice-bot', ['crm.read', 'crm.write', 'mail.send']);
  expect(await asked('crm.write', agent, forAgent)).toBe('invalid_scope'); // wider than the client
  expect(await asked('mail.send', agent, forAgent)).toBe('invalid_scope'); // not a scope of the resource
  expect(await refusalOf(desk.exchange(await subjectToken('desk', ['mail.send']), toCrm))).toBe('invalid_scope');
});

test('the token never lives longer than the subject token', async () => {
  const token = await service.mintSubjectToken({
    sub: 'alice',
    audience: 'desk',
    scopes: ['crm.read'],
    ttlSeconds: 40,
  });
  expect((await desk.exchange(token, toCrm)).expires_in).toBeLessThanOrEqual(40);
  ahead = 41_000;
  const late = await refusalOf(desk.exchange(token, toCrm));
  ahead = 0;
  expect(late).toBe('invalid_request');
});

test('client credentials give a token of the client itself', async () => {
  const granted = await agent.grant('client_credentials', [['audience', 'mail']]);
  expect(granted.claims).toMatchObject({
    sub: 'invoice-bot',
    client_id: 'invoice-bot',
    aud: 'mail',
    scope: 'mail.send',
  });
  expect(await agent.introspect(granted.access_token)).toMatchObject({ active: true, sub: 'invoice-bot' });
  const type: [string, string] = ['actor_token_type', tokenType('access_token')];
  const own: Parameters = [['actor_token', granted.access_token], type];
  const acted = await agent.exchange(await subjectToken('invoice-bot'), [...toCrm, ...own]);
  expect(acted.claims['act']).toEqual({ iss: service.issuer, sub: 'invoice-bot' });
  const dpop = oauth.DPoP(agent.client, await oauth.generateKeyPair('ES256'));
  const bound = await agent.grant('client_credentials', [['audience', 'mail']], dpop);
  const unproved: Parameters = [['actor_token', bound.access_token], type];
  expect(await refusalOf(agent.exchange(await subjectToken('invoice-bot'), [...toCrm, ...unproved]))).toBe(
    'invalid_request',
  );
  expect(
    (await agent.exchange(await subjectToken('invoice-bot'), [...toCrm, ...unproved], dpop)).claims['act'],
  ).toBeDefined();
});

test('a revoked token is inactive, a revoked subject cannot be exchanged, and only the owner revokes', async () => {
  const subject = await subjectToken('desk');
  const { access_token } = await desk.exchange(subject, toCrm);
  expect(await refusalOf(agent.revoke(access_token))).toBe('invalid_request');
  expect((await agent.introspect(access_token)).active).toBe(true);
  await desk.revoke(access_token);
  expect(await desk.introspect(access_token)).toEqual({ active: false });
  await desk.revoke(access_token);
  await desk.revoke('unknown');
  const foreign = await domain.mint(agentId, service.issuer);
  await desk.revoke(foreign);
  expect(await desk.introspect(foreign)).toEqual({ active: false });
  expect(await service.revokeToken(subject)).toBe(true);
  expect((await desk.introspect(subject)).active).toBe(false);
  expect(await refusalOf(desk.exchange(subject, toCrm))).toBe('invalid_request');
  const jti = (await desk.exchange(await subjectToken('desk'), toCrm)).claims['jti'];
  expect((await desk.introspect(String(jti))).active).toBe(false);
});

test('calls are counted and listed without secrets', async () => {
  const before = service.counters;
  const { access_token } = await desk.exchange(await subjectToken('desk'), toCrm);
  await desk.introspect(access_token);
  await desk.revoke(access_token);
  const { exchanges, introspections, revocations } = service.counters;
  expect([
    exchanges - before.exchanges,
    introspections - before.introspections,
    revocations - before.revocations,
  ]).toEqual([1, 1, 1]);
  expect(service.calls.at(-3)).toMatchObject({
    endpoint: 'token',
    grant: exchangeGrant,
    clientId: 'desk',
    status: 200,
  });
  expect(JSON.stringify(service.calls)).not.toMatch(/eyJ|s3cret/);
});
