import { expect, test } from 'vitest';
import { checkEndpoint, IssuerMetadata, metadataUrls, readOwnEndpoint } from '../../proxy/trust/issuer-metadata.ts';
import { shiftedWorld } from '../fakes/token-desk.ts';

const places = (issuer: string): string[] => metadataUrls(issuer).map(({ href }) => href);

test('the three places of RFC 8414 and OpenID, each once', () => {
  expect(places('https://sso.example.org')).toEqual([
    'https://sso.example.org/.well-known/oauth-authorization-server',
    'https://sso.example.org/.well-known/openid-configuration',
  ]);
  const realm = [
    'https://sso.example.org/.well-known/oauth-authorization-server/realms/corp',
    'https://sso.example.org/.well-known/openid-configuration/realms/corp',
    'https://sso.example.org/realms/corp/.well-known/openid-configuration',
  ];
  expect(places('https://sso.example.org/realms/corp')).toEqual(realm);
  // RFC 8414 3.1: a final slash goes away before the path is inserted.
  expect(places('https://sso.example.org/realms/corp/')).toEqual(realm);
});

test.for([
  'http://sso.example.org',
  'http://10.0.0.1',
  'http://127.0.0.1.example.org',
  'https://user:pw@sso.example.org',
  'https://sso.example.org/#x',
  'ftp://sso.example.org',
  'sso.example.org',
  '',
])('%s is no endpoint', (text) => {
  expect(() => checkEndpoint(text)).toThrow('metadata unavailable');
});

test('https anywhere and http on loopback are endpoints', () => {
  for (const text of [
    'https://a.example.org/t?x=1',
    'http://127.0.0.1:1/t',
    'http://127.8.8.8/',
    'http://[::1]:9/',
    'http://localhost/',
  ]) {
    expect(checkEndpoint(text).href).toBe(text);
  }
  expect(() => metadataUrls('https://sso.example.org/?x=1')).toThrow('metadata unavailable');
});

test('an endpoint that metadata names lies on the origin of the issuer', () => {
  const issuer = 'https://sso.example.org/realms/corp';
  expect(readOwnEndpoint('https://sso.example.org:443/token', issuer).href).toBe('https://sso.example.org/token');
  for (const other of [
    'https://sso.example.org:8443/token',
    'https://sso.example.org.evil.org/token',
    'https://login.example.org/token',
    'http://sso.example.org/token',
    undefined,
    7,
  ]) {
    expect(() => readOwnEndpoint(other, issuer)).toThrow('metadata unavailable');
  }
});

test('the next place is asked while one has no document of this issuer, and none after a time-out', async () => {
  const world = shiftedWorld();
  const asked: string[] = [];
  const answers = [
    { status: 200, body: '<html>' },
    { status: 200, body: '{"issuer":"https://sso.example.org","token_endpoint":"https://evil.example.org"}' },
    { status: 200, body: '{"issuer":"https://sso.example.org/a","token_endpoint":"t"}' },
  ];
  const metadata = new IssuerMetadata(world, async (url) => {
    asked.push(url.pathname);
    return answers.shift() ?? Promise.reject(new Error('time-out at https://sso.example.org'));
  });
  expect(await metadata.read('https://sso.example.org/a', 1000)).toHaveProperty('token_endpoint', 't');
  expect(asked).toHaveLength(3);
  await expect(metadata.read('https://sso.example.org/b', 1000)).rejects.toThrow(/^issuer metadata unavailable$/);
  expect(asked).toHaveLength(4);
});

test('a document with a repeated member is no document', async () => {
  const body = '{"issuer":"https://a.example.org","token_endpoint":"x","issuer":"https://a.example.org"}';
  const metadata = new IssuerMetadata(shiftedWorld(), async () => ({ status: 200, body }));
  await expect(metadata.read('https://a.example.org', 1000)).rejects.toThrow('unavailable');
});

test('a document that was fetched under one authority is none under another', async () => {
  let authority = '/etc/former.pem';
  let asked = 0;
  const body = '{"issuer":"https://a.example.org"}';
  const fetch = async () => ({ status: asked++ === 0 ? 200 : 404, body });
  const metadata = new IssuerMetadata(shiftedWorld(), fetch, () => authority);
  await metadata.read('https://a.example.org', 1000);
  expect(metadata.peek('https://a.example.org')).toBeDefined();
  authority = '/etc/present.pem';
  expect(metadata.peek('https://a.example.org')).toBeUndefined();
  await expect(metadata.read('https://a.example.org', 1000)).rejects.toThrow('unavailable');
});
