import { once } from 'node:events';
import { request } from 'node:http';
import * as oauth from 'oauth4webapi';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { openMintingDomain, type MintingDomain } from '../fakes/jwt-svid-mint.ts';
import { discover, exchangeGrant, OAuthClient, refusalOf, spiffeJwt, type Parameters } from '../fakes/oauth-client.ts';

const agentId = 'spiffe://example.org/invoice-bot';
const toCrm: Parameters = [['audience', 'crm']];

let domain: MintingDomain;
/** Its key is in the bundle of `domain`, but for X.509-SVIDs. */
let x509: MintingDomain;
let service: TokenService;
let as: oauth.AuthorizationServer;

beforeAll(async () => {
  domain = await openMintingDomain('example.org');
  x509 = await openMintingDomain('x509');
  const bundle = { ...domain, jwks: () => [...domain.jwks(), { ...x509.jwks()[0]!, use: 'x509-svid' }] };
  const scopes = ['crm.read'];
  service = await openTokenService({
    clients: [
      { clientId: 'invoice-bot', auth: 'spiffe_jwt', spiffeId: agentId, scopes },
      { clientId: 'fleet', auth: 'spiffe_jwt', spiffeId: 'spiffe://example.org/fleet/*', scopes },
      { clientId: 'desk', auth: 'client_secret_post', clientSecret: 'secret', scopes },
      { clientId: 'only-exchange', auth: 'client_secret_basic', clientSecret: 'x', scopes, grants: [exchangeGrant] },
    ],
    resources: [{ resource: 'https://crm.example.org', audience: 'crm', scopes }],
    spiffe: bundle,
    accessTokenTtlSeconds: 300,
  });
  as = await discover(service.issuer, 'oauth2');
});
afterAll(async () => {
  expect(service.faults).toEqual([]);
  await service.close();
});

const clientBy = (svid: () => Promise<string>, clientId?: string): OAuthClient =>
  new OAuthClient(as, 'invoice-bot', spiffeJwt(svid, clientId));

test('a client is who its SVID says, for this service alone', async () => {
  const asked = async (svid: Promise<string>, clientId?: string): Promise<string> =>
    refusalOf(clientBy(() => svid, clientId).grant('client_credentials', toCrm));
  const { issuer } = service;
  expect(await asked(domain.mint(agentId, issuer))).toBe('granted');
  expect(await asked(domain.mint(agentId, [issuer]))).toBe('granted');
  expect(await asked(domain.mint('spiffe://example.org/fleet/7', issuer), 'fleet')).toBe('granted');
  const past = Math.floor(Date.now() / 1000) - 1;
  const other = await openMintingDomain('example.org');
  const foreign = await openMintingDomain('example.com');
  const refused: Record<string, Promise<string>> = {
    'another client_id': asked(domain.mint(agentId, issuer), 'fleet'),
    'unregistered workload': asked(domain.mint('spiffe://example.org/stranger', issuer)),
    'longer path': asked(domain.mint(`${agentId}/child`, issuer)),
    'prefix without segment': asked(domain.mint('spiffe://example.org/fleet2', issuer)),
    'token endpoint as audience': asked(domain.mint(agentId, `${issuer}/token`)),
    'slash after the issuer': asked(domain.mint(agentId, `${issuer}/`)),
    'second audience': asked(domain.mint(agentId, [issuer, 'https://else.example'])),
    expired: asked(domain.mint(agentId, issuer, { exp: past })),
    'no expiry': asked(domain.mint(agentId, issuer, { exp: undefined })),
    'wrong key': asked(other.mint(agentId, issuer)),
    'foreign domain': asked(foreign.mint('spiffe://example.com/invoice-bot', issuer)),
    'other kid': asked(domain.mint(agentId, issuer, {}, { kid: 'else' })),
    'X.509 key': asked(x509.mint(agentId, issuer)),
    'no kid': asked(domain.mint(agentId, issuer, {}, { kid: undefined })),
    'other typ': asked(domain.mint(agentId, issuer, {}, { typ: 'wit+jwt' })),
    'unknown header': asked(domain.mint(agentId, issuer, {}, { jku: 'https://evil.example' })),
    padded: asked(domain.mint(agentId, issuer).then((text) => `${text}=`)),
  };
  for (const [name, result] of Object.entries(refused)) expect([name, await result]).toEqual([name, 'invalid_client']);
});

test('other ways to authenticate are refused, and two at once too', async () => {
  const asked = async (auth: oauth.ClientAuth, clientId = 'invoice-bot'): Promise<string> =>
    refusalOf(new OAuthClient(as, clientId, auth).grant('client_credentials', toCrm));
  const svid = await domain.mint(agentId, service.issuer);
  expect(await asked(oauth.ClientSecretPost('guess'))).toBe('invalid_client');
  expect(await asked(oauth.None())).toBe('invalid_client');
  expect(await asked(oauth.ClientSecretPost('wrong'), 'desk')).toBe('invalid_client');
  expect(await asked(oauth.ClientSecretPost('x'), 'only-exchange')).toBe('unauthorized_client');
  const bearer = spiffeJwt(async () => svid);
  const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  const jwtBearer: oauth.ClientAuth = async (...all) => {
    await bearer(...all);
    all[2].set('client_assertion_type', type);
  };
  const both: oauth.ClientAuth = async (...all) => {
    await bearer(...all);
    all[2].set('client_secret', 'secret');
  };
  expect(await asked(jwtBearer)).toBe('invalid_client');
  expect(await asked(both)).toBe('invalid_request');
  const basicToo: oauth.ClientAuth = async (...all) => {
    await bearer(...all);
    all[3].set('authorization', `Basic ${btoa('only-exchange:x')}`);
  };
  expect(await asked(basicToo)).toBe('invalid_request');
  const twice: oauth.ClientAuth = async (...all) => {
    await bearer(...all);
    all[2].append('client_assertion', svid);
  };
  expect(await asked(twice)).toBe('invalid_request');
  const nobody = await fetch(`${service.issuer}/token`, { method: 'POST', body: new URLSearchParams({ scope: 'a' }) });
  expect([nobody.status, await nobody.json()]).toMatchObject([401, { error: 'invalid_client' }]);
});

test('a request that came under another name is not answered', async () => {
  const asked = request(`${service.issuer}/jwks`, { headers: { host: 'rebound.example' } }).end();
  const [answer] = await once(asked, 'response');
  expect(answer.resume().statusCode).toBe(421);
});
