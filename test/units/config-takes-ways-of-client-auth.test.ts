import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { findWarnings } from '../../config/warnings.ts';

const load = (service: string, more = '') =>
  loadSettings(
    `version: 1\nagent: { name: a }\nidentity: { workload_api: "unix:///s" }\ntoken_services: { s: { issuer: "https://s.example.org", ${service} } }\n${more}`,
    'w.yaml',
  ).settings;

test.each([
  'client_auth: spiffe_jwt',
  'client_auth: spiffe_jwt, client_id: bot',
  'client_auth: spiffe_x509',
  'client_auth: spiffe_x509, actor: jwt-svid, tls: { ca: /ca }',
  'client_auth: private_key_jwt, client_id: bot, client_key_file: /k, client_key_id: "1"',
  'client_auth: private_key_jwt, client_id: bot, client_key_file: /k, assertion: { audience: token_endpoint, typ: none }',
  'client_auth: tls_client_auth, client_id: bot, client_certificate_file: /c, client_key_file: /k',
  'client_auth: kubernetes_jwt, token_file: /t',
  'client_auth: kubernetes_jwt, token_file: /t, client_id: bot, assertion: { audience: token_endpoint }',
  'client_auth: client_secret_basic, client_id: bot, client_secret_file: /f, tls: { ca: /ca }',
])('%s', (service) => {
  expect(load(service).token_services.get('s')).toMatchObject({ issuer: 'https://s.example.org' });
});

test('an assertion is for the issuer and of the newest type unless it is said otherwise', () => {
  const { assertion, tls } = load('client_auth: spiffe_jwt').token_services.get('s') ?? {};
  expect([assertion, tls]).toEqual([{ audience: 'issuer', typ: 'client-authentication+jwt' }, {}]);
});

test('a tool with a bound token has the level of a key, and needs no more for grave risks', () => {
  const tool =
    'tools: { t: { match: { host: t.example.org }, token: { from: s, audience: [t], proof: mtls }, tls: { client: svid }, risk: payment } }';
  expect(load('client_auth: spiffe_x509', tool).tools.get('t')?.token?.proof).toBe('mtls');
});

test('the token of the pod may be that of the identity', () => {
  const text = `version: 1
agent: { name: a }
identity: { kubernetes: { token_file: /t } }
token_services: { s: { issuer: "https://s.example.org", client_auth: kubernetes_jwt } }
`;
  expect(loadSettings(text, 'w.yaml').settings.token_services.get('s')?.token_file).toBeUndefined();
});

test('services that share an origin share its authority', () => {
  const text = `version: 1
agent: { name: a }
identity: { workload_api: "unix:///s" }
token_services:
  one: { issuer: "https://s.example.org/one", client_auth: spiffe_jwt, tls: { ca: /ca } }
  two: { issuer: "https://s.example.org/two", client_auth: spiffe_jwt, tls: { ca: /ca } }
  far: { issuer: "https://far.example.org", client_auth: spiffe_jwt, endpoints: { jwks: "https://keys.example.org/k" } }
`;
  expect(loadSettings(text, 'w.yaml').settings.token_services.size).toBe(3);
});

test.each([
  ['client_secret_file', 'client_auth: spiffe_jwt, client_secret_file: /f'],
  ['client_key_file', 'client_auth: spiffe_x509, client_key_file: /k'],
  ['client_key_id', 'client_auth: spiffe_jwt, client_key_id: "1"'],
  [
    'client_certificate_file',
    'client_auth: private_key_jwt, client_id: b, client_key_file: /k, client_certificate_file: /c',
  ],
  ['token_file', 'client_auth: client_secret_post, client_id: b, client_secret_file: /f, token_file: /t'],
])('%s that is not used is named', (key, service) => {
  expect(findWarnings(load(service)).filter((text) => text.includes('is not used'))).toEqual([
    expect.stringContaining(`token_services.s: \`${key}\` is not used with`),
  ]);
});
