import { createRemoteJWKSet, customFetch, decodeProtectedHeader, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import { fetch as undiciFetch, ProxyAgent } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SeenCall } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const issuer = 'http://waybill.local';
const insecure = { [oauth.allowInsecureRequests]: true } as const;
const bearerOf = ({ headers }: SeenCall): string => String(headers.authorization).replace(/^Bearer /, '');

let stage: WayInStage;
beforeAll(async () => {
  stage = await openWayIn({ name: 'verifier', typ: ['at+jwt', 'JWT', 'none'] });
});
afterAll(() => stage?.close());

/** How a program fetches: through the proxy of its environment, in a tunnel as with Node.js 24, or as any other does. */
function fetchThrough(proxyTunnel: boolean): (url: string | URL) => Promise<Response> {
  const dispatcher = new ProxyAgent({ uri: `http://${stage.sidecar.addresses.outbound}`, proxyTunnel });
  return (url) => undiciFetch(String(url), { dispatcher });
}

async function givenToken(claims: Record<string, unknown> = {}): Promise<string> {
  const caller = await stage.caller(claims);
  await expectPasses(stage, 'call', () => caller.send());
  return bearerOf(stage.program.seen.at(-1)!);
}

describe.each([
  ['in a tunnel', true],
  ['without a tunnel', false],
])('a program that verifies and calls its proxy %s', (_how, proxyTunnel) => {
  test('finds the keys', async () => {
    const through = fetchThrough(proxyTunnel);
    const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`), { [customFetch]: through });
    const { payload } = await jwtVerify(await givenToken({ sub: 'zoe' }), keys, { issuer, audience: 'verifier' });
    expect(payload.sub).toBe('zoe');
  });

  test.each(['oidc', 'oauth2'] as const)('finds them by the name of the issuer alone (%s)', async (algorithm) => {
    const through = fetchThrough(proxyTunnel);
    const options = { algorithm, ...insecure, [oauth.customFetch]: through };
    const answer = await oauth.discoveryRequest(new URL(issuer), options);
    const server = await oauth.processDiscoveryResponse(new URL(issuer), answer);
    const keys = createRemoteJWKSet(new URL(server.jwks_uri ?? ''), { [customFetch]: through });
    const algorithms = server['id_token_signing_alg_values_supported'] as string[];
    await jwtVerify(await givenToken(), keys, { issuer, algorithms });
  });
});

test('a program without a proxy finds them at the address of the way out', async () => {
  const own = `http://${stage.sidecar.addresses.outbound}`;
  const metadata = (await (await fetch(`${own}/.well-known/openid-configuration`)).json()) as Record<string, string>;
  expect(metadata).toMatchObject({ issuer, jwks_uri: `${own}/.well-known/jwks.json` });
  await jwtVerify(await givenToken(), createRemoteJWKSet(new URL(metadata['jwks_uri'] ?? '')), { issuer });
});

test.each([
  ['at+jwt', 'at+jwt'],
  ['application/AT+JWT', 'at+jwt'],
  ['JWT', 'JWT'],
])('a program that asks for the kind of token, %s, gets that kind', async (typ, shown) => {
  const caller = await stage.caller();
  const { sub, cnf } = JSON.parse(Buffer.from(caller.token.split('.')[1]!, 'base64url').toString()) as Record<
    string,
    unknown
  >;
  const token = await stage.service.subjectToken({ aud: stage.origin, sub, cnf }, typ);
  await expectPasses(stage, 'call', () => caller.send({ token }));
  expect(decodeProtectedHeader(bearerOf(stage.program.seen.at(-1)!)).typ).toBe(shown);
});

test('a program that knows RS256 alone gets it with `inert_alg`', async () => {
  const plain = await openWayIn({ name: 'plain', inbound: { inert_alg: 'RS256' } });
  try {
    const caller = await plain.caller({ sub: 'zoe' });
    await expectPasses(plain, 'call', () => caller.send());
    const own = `http://${plain.sidecar.addresses.outbound}/.well-known`;
    const metadata = await (await fetch(`${own}/openid-configuration`)).json();
    expect(metadata).toMatchObject({ id_token_signing_alg_values_supported: ['RS256'] });
    const keys = createRemoteJWKSet(new URL(`${own}/jwks.json`));
    const { payload } = await jwtVerify(bearerOf(plain.program.seen.at(-1)!), keys, { issuer, algorithms: ['RS256'] });
    expect(payload.sub).toBe('zoe');
  } finally {
    await plain.close();
  }
});

test('what is asked for by another name, or by a page, is not served', async () => {
  const { outbound } = stage.sidecar.addresses;
  for (const document of ['jwks.json', 'openid-configuration', 'oauth-authorization-server']) {
    const path = `/.well-known/${document}`;
    const answers = [
      await callThrough(outbound, `${issuer}${path}`, { headers: { Host: 'evil.test' } }),
      await callThrough(outbound, `${issuer}${path}`, { headers: { Origin: 'https://evil.org' } }),
      await callThrough(outbound, `http://waybill.local.evil.org${path}`),
      await callThrough(outbound, `${issuer}${path}`, { method: 'POST' }),
      await callThrough(outbound, `${issuer}:81${path}`),
    ];
    expect(answers.map(({ status }) => status >= 400)).toEqual(answers.map(() => true));
  }
});
