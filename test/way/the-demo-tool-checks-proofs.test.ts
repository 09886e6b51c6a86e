import { createHash, randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { exportJWK, generateKeyPair, SignJWT, type JWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDemoTool, type DemoTool } from '../../proxy/embedded/demo-tool.ts';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { discover, OAuthClient } from '../fakes/oauth-client.ts';

const origin = 'http://crm.example.org';
type Keys = Awaited<ReturnType<typeof oauth.generateKeyPair>>;

let service: TokenService;
let tool: DemoTool;
let strict: DemoTool;
let desk: OAuthClient;
let keys: Keys;
let bound: string;
let plain: string;

beforeAll(async () => {
  service = await openTokenService({
    clients: [{ clientId: 'desk', auth: 'client_secret_basic', clientSecret: 's', scopes: ['crm.read', 'mail.send'] }],
    resources: [
      { resource: origin, scopes: ['crm.read'] },
      { resource: 'http://mail.example.org', scopes: ['mail.send'] },
    ],
    accessTokenTtlSeconds: 60,
  });
  const { issuer } = service;
  tool = await openDemoTool({ issuer, audience: origin, origin });
  strict = await openDemoTool({ issuer, audience: origin, demandNonce: true });
  desk = new OAuthClient(await discover(issuer, 'oauth2'), 'desk', oauth.ClientSecretBasic('s'));
  keys = await oauth.generateKeyPair('ES256');
  const own = [['resource', origin]] satisfies [string, string][];
  bound = (await desk.grant('client_credentials', own, oauth.DPoP(desk.client, keys))).access_token;
  plain = (await desk.grant('client_credentials', own)).access_token;
});
afterAll(async () => {
  await Promise.all([service.close(), tool.close(), strict.close()]);
});

const ath = (token: string): string => createHash('sha256').update(token).digest('base64url');
const proof = async (claims: object = {}, header: object = {}, signer = keys): Promise<string> => {
  const jwk: JWK = await exportJWK(signer.publicKey);
  const base = { jti: randomUUID(), htm: 'GET', htu: `${origin}/orders`, iat: Math.floor(Date.now() / 1000) };
  return new SignJWT({ ...base, ath: ath(bound), ...claims })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk, ...header })
    .sign(signer.privateKey);
};
const get = async (authorization: string, dpop?: string, at = tool): Promise<Response> =>
  fetch(`${at.url}/orders?page=2`, { headers: { authorization, ...(dpop === undefined ? {} : { dpop }) } });

test('a bound token with its proof is let in and answered with the claims', async () => {
  const answer = await get(`DPoP ${bound}`, await proof());
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ sub: 'desk', aud: origin, scope: 'crm.read', client_id: 'desk' });
});

test('an unbound token is let in as Bearer', async () => {
  const answer = await get(`Bearer ${plain}`);
  expect(await answer.json()).toMatchObject({ sub: 'desk', requests: tool.requests.length });
});

test('a proof that is not for exactly this request, token, key and time is refused', async () => {
  const now = Math.floor(Date.now() / 1000);
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const other = { privateKey, publicKey };
  const cases: Record<string, [Promise<string>, string]> = {
    'other method': [proof({ htm: 'POST' }), 'invalid_dpop_proof'],
    'other host': [proof({ htu: `${tool.url}/orders` }), 'invalid_dpop_proof'],
    'other path': [proof({ htu: `${origin}/orders/1` }), 'invalid_dpop_proof'],
    'other token': [proof({ ath: ath(plain) }), 'invalid_dpop_proof'],
    'no ath': [proof({ ath: undefined }), 'invalid_dpop_proof'],
    'no jti': [proof({ jti: undefined }), 'invalid_dpop_proof'],
    'long jti': [proof({ jti: 'x'.repeat(257) }), 'invalid_dpop_proof'],
    old: [proof({ iat: now - 62 }), 'invalid_dpop_proof'],
    'from the future': [proof({ iat: now + 8 }), 'invalid_dpop_proof'],
    'other typ': [proof({}, { typ: 'JWT' }), 'invalid_dpop_proof'],
    'jwk of another': [proof({}, { jwk: await exportJWK(publicKey) }), 'invalid_dpop_proof'],
    'other key': [proof({}, {}, other), 'invalid_token'],
    'two in one': [Promise.all([proof(), proof()]).then((both) => both.join(', ')), 'invalid_dpop_proof'],
  };
  for (const [name, [made, error]] of Object.entries(cases)) {
    const answer = await get(`DPoP ${bound}`, await made);
    expect({ name, status: answer.status, body: await answer.json() }).toMatchObject({
      name,
      status: 401,
      body: { error },
    });
    expect(answer.headers.get('www-authenticate')).toMatch(/^DPoP error="/);
  }
});

test('a proof is good once, also for two requests at the same time', async () => {
  const made = await proof();
  const answers = await Promise.all([get(`DPoP ${bound}`, made), get(`DPoP ${bound}`, made)]);
  expect(answers.map((answer) => answer.status).toSorted((one, two) => one - two)).toEqual([200, 401]);
});

test('token and scheme have to fit: no bound token as Bearer, no unbound one as DPoP, none for another tool', async () => {
  const mail = (await desk.grant('client_credentials', [['resource', 'http://mail.example.org']])).access_token;
  expect((await get(`Bearer ${bound}`, await proof())).status).toBe(401);
  expect((await get(`DPoP ${plain}`, await proof({ ath: ath(plain) }))).status).toBe(401);
  expect((await get(`Bearer ${mail}`)).status).toBe(401);
  expect((await get(`DPoP ${bound}`)).status).toBe(401);
  expect((await fetch(tool.url)).headers.get('www-authenticate')).toBe('DPoP algs="ES256 EdDSA"');
});

test('two Authorization headers or two proofs are refused', async () => {
  const made = await Promise.all([proof(), proof()]);
  const send = async (headers: string[]): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const sent = request(`${tool.url}/orders`, { headers: ['host', 'crm.example.org', ...headers] }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      sent.on('error', reject).end();
    });
  const credential = ['authorization', `DPoP ${bound}`];
  expect(await send([...credential, 'dpop', made[0]])).toBe(200);
  expect(await send([...credential, 'dpop', made[1], 'dpop', made[1]])).toBe(401);
  expect(await send([...credential, ...credential, 'dpop', made[1]])).toBe(401);
  expect(await send([...credential, 'dpop', made[1]])).toBe(200);
});

test('a tool that demands a nonce gives one, and takes the one before it', async () => {
  const htu = `${strict.origin}/orders`;
  const challenge = await get(`DPoP ${bound}`, await proof({ htu }), strict);
  expect(challenge.headers.get('www-authenticate')).toMatch(/^DPoP error="use_dpop_nonce"/);
  const nonce = challenge.headers.get('dpop-nonce');
  const withNonce = async (): Promise<number> =>
    (await get(`DPoP ${bound}`, await proof({ htu, nonce }), strict)).status;
  expect(await withNonce()).toBe(200);
  strict.renewNonce();
  expect(await withNonce()).toBe(200);
  strict.renewNonce();
  expect(await withNonce()).toBe(401);
});

test('what arrived is listed, without query and token', async () => {
  expect(tool.requests[0]).toMatchObject({ method: 'GET', path: '/orders', scheme: 'DPoP', status: 200 });
  expect(tool.requests[0]?.tokenId).toBe(createHash('sha256').update(bound).digest('hex').slice(0, 16));
  expect(JSON.stringify(tool.requests)).not.toMatch(/eyJ|page/);
});
