import { randomUUID } from 'node:crypto';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import * as oauth from 'oauth4webapi';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { maxActors } from '../../proxy/embedded/delegation.ts';
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

const agentId = 'spiffe://example.org/invoice-bot';
const toCrm: Parameters = [['audience', 'crm']];

let domain: MintingDomain;
let service: TokenService;
let agent: OAuthClient;
let desk: OAuthClient;

beforeAll(async () => {
  domain = await openMintingDomain('example.org');
  service = await openTokenService({
    clients: [
      { clientId: 'invoice-bot', auth: 'spiffe_jwt', spiffeId: agentId, scopes: ['crm.read'] },
      { clientId: 'desk', auth: 'client_secret_post', clientSecret: 'secret', scopes: ['crm.read'] },
    ],
    resources: [
      { resource: 'https://crm.example.org', audience: 'crm', scopes: ['crm.read'] },
      { resource: 'https://desk.example.org', scopes: ['crm.read'], client: 'desk' },
    ],
    subjects: [
      { sub: 'alice' },
      { sub: 'bob', mayAct: { sub: agentId } },
      { sub: 'carol', mayAct: { sub: agentId, iss: 'https://else.example' } },
    ],
    spiffe: domain,
    accessTokenTtlSeconds: 300,
    demandNonce: true,
  });
  const as = await discover(service.issuer, 'oauth2');
  agent = new OAuthClient(
    as,
    'invoice-bot',
    spiffeJwt(() => domain.mint(agentId, service.issuer)),
  );
  desk = new OAuthClient(as, 'desk', oauth.ClientSecretPost('secret'));
});
afterAll(async () => {
  expect(service.faults).toEqual([]);
  await service.close();
});

const subjectToken = async (audience: string, sub = 'alice'): Promise<string> =>
  service.mintSubjectToken({ sub, audience, scopes: ['crm.read'], ttlSeconds: 600 });
const withActor = (token: string, type = 'jwt'): Parameters => [
  ...toCrm,
  ['actor_token', token],
  ['actor_token_type', tokenType(type)],
];

test('a subject token is ours, live, and for this client', async () => {
  const good = await subjectToken('desk');
  const { privateKey } = await generateKeyPair('ES256');
  const forged = await new SignJWT({ sub: 'alice', scope: 'crm.read', jti: randomUUID(), client_id: 'desk' })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt' })
    .setIssuer(service.issuer)
    .setAudience('desk')
    .setExpirationTime('5m')
    .sign(privateKey);
  const asked = async (token: string): Promise<string> => refusalOf(desk.exchange(token, toCrm));
  expect(await asked(good)).toBe('granted');
  expect(await asked(await subjectToken('https://desk.example.org'))).toBe('granted');
  expect(await asked(await subjectToken('invoice-bot'))).toBe('invalid_request');
  expect(await asked(forged)).toBe('invalid_request');
  expect(await asked(`${good.slice(0, -4)}AAAA`)).toBe('invalid_request');
  expect(await asked(await domain.mint(agentId, service.issuer))).toBe('invalid_request');
  // Issued to the client, though addressed elsewhere: its own token.
  const { access_token } = await desk.exchange(good, toCrm);
  expect(await asked(access_token)).toBe('granted');
  expect(await refusalOf(agent.exchange(access_token, toCrm))).toBe('invalid_request');
});

test('an actor token is valid, not delegated, and of the client that shows it', async () => {
  const { issuer } = service;
  const token = await subjectToken('invoice-bot');
  const asked = async (actor: string, type?: string): Promise<string> =>
    refusalOf(agent.exchange(token, withActor(actor, type)));
  expect(await asked(await domain.mint(agentId, issuer))).toBe('granted');
  expect(await asked(await domain.mint(agentId, `${issuer}/token`))).toBe('invalid_request');
  expect(await asked(await domain.mint('spiffe://example.org/stranger', issuer))).toBe('invalid_request');
  expect(await asked(await domain.mint(agentId, issuer), 'access_token')).toBe('invalid_request');
  expect(await asked(await domain.mint(agentId, issuer), 'id_token')).toBe('invalid_request');
  const elsewhere = await domain.mint('spiffe://example.com/desk', issuer);
  expect(await refusalOf(desk.exchange(await subjectToken('desk'), withActor(elsewhere)))).toBe('invalid_request');
  const foreign = await desk.grant('client_credentials', toCrm);
  expect(await asked(foreign.access_token, 'access_token')).toBe('invalid_request');
  const delegated = await agent.exchange(token, withActor(await domain.mint(agentId, issuer)));
  expect(await asked(delegated.access_token, 'access_token')).toBe('invalid_request');
  const lonely: Parameters = [...toCrm, ['actor_token_type', tokenType('jwt')]];
  expect(await refusalOf(agent.exchange(token, lonely))).toBe('invalid_request');
});

test('may_act holds, and leaving the actor out is no way around it', async () => {
  const token = await subjectToken('invoice-bot', 'bob');
  const actor = await domain.mint(agentId, service.issuer);
  const granted = await agent.exchange(token, withActor(actor));
  expect(granted.claims['may_act']).toBeUndefined();
  expect(await refusalOf(agent.exchange(token, toCrm))).toBe('invalid_request');
  const forDesk = await subjectToken('desk', 'bob');
  const stranger = await domain.mint('spiffe://example.org/stranger', service.issuer);
  expect(await refusalOf(desk.exchange(forDesk, withActor(stranger)))).toBe('invalid_request');
  // The SVID has no issuer, so it is not the actor of that issuer whom carol allows.
  expect(await refusalOf(agent.exchange(await subjectToken('invoice-bot', 'carol'), withActor(actor)))).toBe(
    'invalid_request',
  );
  await expect(subjectToken('desk', 'nobody')).rejects.toThrow('no subject');
});

test('a chain of actors ends at ten', async () => {
  let token = await subjectToken('invoice-bot');
  for (let hop = 0; hop < maxActors; hop += 1) {
    token = (await agent.exchange(token, withActor(await domain.mint(agentId, service.issuer)))).access_token;
  }
  const actor = await domain.mint(agentId, service.issuer);
  expect(await refusalOf(agent.exchange(token, withActor(actor)))).toBe('invalid_request');
});

test('targets, types and grants are checked', async () => {
  const token = await subjectToken('desk');
  const asked = async (parameters: Parameters): Promise<string> => refusalOf(desk.exchange(token, parameters));
  expect(await asked([])).toBe('invalid_target');
  expect(await asked([['audience', 'unknown']])).toBe('invalid_target');
  expect(await asked([...toCrm, ['resource', 'https://unknown.example']])).toBe('invalid_target');
  expect(await asked([['resource', 'crm']])).toBe('invalid_target');
  expect(await asked([...toCrm, ['requested_token_type', tokenType('access_token')]])).toBe('granted');
  expect(await asked([...toCrm, ['requested_token_type', tokenType('id_token')]])).toBe('invalid_request');
  expect(await asked([...toCrm, ['scope', 'crm.read'], ['scope', 'crm.read']])).toBe('invalid_request');
  expect(await refusalOf(desk.grant('password', []))).toBe('unsupported_grant_type');
  expect(await refusalOf(desk.grant(exchangeGrant, toCrm))).toBe('invalid_request');
});

test('a nonce is demanded of DPoP proofs, and a proof is good once', async () => {
  const keys = await oauth.generateKeyPair('ES256');
  const granted = await desk.grant('client_credentials', toCrm, oauth.DPoP(desk.client, keys));
  expect(granted.token_type).toBe('dpop');
  expect(service.calls.at(-2)).toMatchObject({ status: 400, error: 'use_dpop_nonce' });
  const url = `${service.issuer}/token`;
  const jwk = await exportJWK(keys.publicKey);
  const proofWith = async (claims: object): Promise<string> =>
    new SignJWT({ jti: randomUUID(), htm: 'POST', htu: url, iat: Math.floor(Date.now() / 1000), ...claims })
      .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
      .sign(keys.privateKey);
  const form = { grant_type: 'client_credentials', audience: 'crm', client_id: 'desk', client_secret: 'secret' };
  const post = async (dpop: string): Promise<Response> =>
    fetch(url, { method: 'POST', headers: { dpop }, body: new URLSearchParams(form) });
  const challenge = await post(await proofWith({}));
  const nonce = challenge.headers.get('dpop-nonce');
  const proof = await proofWith({ nonce });
  const answers = await Promise.all([post(proof), post(proof)]);
  expect(answers.map((answer) => answer.status).toSorted((one, two) => one - two)).toEqual([200, 400]);
  const elsewhere = await post(await proofWith({ nonce, htu: 'https://else.example/token' }));
  expect(await elsewhere.json()).toMatchObject({ error: 'invalid_dpop_proof' });
});
