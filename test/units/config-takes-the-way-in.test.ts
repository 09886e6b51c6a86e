import { describe, expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';

/** Around `inbound`: the keys of DESIGN 8 and WIRE 2 that it needs. */
const around = (identity = '{ workload_api: "unix:///run/spire/agent.sock" }') => `version: 1
agent: { name: a }
identity: ${identity}
trust:
  domains: { ${identity === 'none' ? '' : 'example.org: workload_api'} }
  issuers: [ { issuer: "https://sso.example.org", audience: other }, { issuer: "https://two.example.org" } ]
`;
const load = (text: string) => loadSettings(text, 'w.yaml').settings;
const dpop = '{ issuer: "https://sso.example.org", proof: dpop }';
const channel = '{ trust_domain: example.org, proof: mtls }';
const bound = '{ issuer: "https://two.example.org", proof: mtls }';

const wayIn = (accept: string, more = '', origin = 'https://a.example.org') =>
  load(`${around()}inbound: { origin: "${origin}", accept: [${accept}], forward_to: "http://127.0.0.1:8080"${more} }\n`)
    .inbound;

test('the way in of DESIGN 8 parses as it is written there', () => {
  const settings = load(`${around()}
inbound:
  origin:   https://invoice-bot.example.org     # what a proof's htu must name
  resource: https://invoice-bot.example.org     # what the audience of tokens and links must be
  accept:   [ { issuer: https://sso.example.org, proof: dpop }, { trust_domain: example.org, proof: mtls } ]
  callers:  [ "spiffe://example.org/planner" ]
  chain:    { require: true, max_links: 5 }
  present:  inert-jwt
  forward_to: http://127.0.0.1:8080
replay:   { ledger: memory, nonce: required }
listen:   { outbound: 127.0.0.1:15001, inbound: 0.0.0.0:15006 }
`);
  expect(settings.inbound).toEqual({
    origin: 'https://invoice-bot.example.org',
    resource: 'https://invoice-bot.example.org',
    accept: [
      { issuer: 'https://sso.example.org', proof: 'dpop', presenters: new Map(), unsafe_bearer: false },
      { trust_domain: 'example.org', proof: 'mtls' },
    ],
    callers: [{ id: 'spiffe://example.org/planner', below: false }],
    chain: { require: true, max_links: 5, max_bytes: 8192 },
    subject_map: new Map(),
    token: { once: false },
    host: 'origin',
    inert_alg: 'ES256',
    program: 'agent',
    present: 'inert-jwt',
    forward_to: { origin: 'http://127.0.0.1:8080', host: '127.0.0.1', port: 8080 },
    tls: 'svid',
    unsafe_plaintext: false,
    client_certificates: 'accept',
  });
  expect(Object.isFrozen(settings)).toBe(true);
  expect(Object.isFrozen(settings.inbound)).toBe(true);
});

test('every other key of the way in parses', () => {
  const settings = load(`${around()}
token_services: { own: { issuer: "https://two.example.org", client_auth: spiffe_jwt } }
inbound:
  origin: http://127.0.0.1:15006
  resource: urn:example:worker
  accept: [ { issuer: "https://sso.example.org", unsafe_bearer: true }, { issuer: "https://two.example.org", proof: dpop, introspect: own } ]
  callers: [ "spiffe://example.org/ns/prod/**", "spiffe://other.org/**" ]
  chain: { max_links: 10, max_bytes: 32768 }
  subject_map: { "https://two.example.org": "https://root.example.org" }
  program: tool
  present: original
  inert_alg: RS256
  forward_to: http://localhost:9000
  tls: off
  client_certificates: off
replay: { nonce: off, max_entries: 5, window: 2m, future: 0s, on_replay: block }
listen: { inbound: "127.0.0.1:0" }
`);
  expect(settings.inbound).toMatchObject({
    resource: 'urn:example:worker',
    accept: [{ unsafe_bearer: true }, { introspect: 'own' }],
    callers: [
      { id: 'spiffe://example.org/ns/prod', below: true },
      { id: 'spiffe://other.org', below: true },
    ],
    chain: { require: false },
    program: 'tool',
    present: 'original',
    inert_alg: 'RS256',
    forward_to: { host: 'localhost', port: 9000 },
    tls: 'off',
    client_certificates: 'off',
  });
  expect(settings.inbound?.subject_map.get('https://two.example.org')).toBe('https://root.example.org');
  expect(settings.replay).toEqual({
    ledger: 'memory',
    nonce: 'off',
    max_entries: 5,
    window: 120_000,
    future: 0,
    on_replay: 'block',
  });
  expect(settings.listen.inbound).toEqual({ address: '127.0.0.1', port: 0 });
});

describe('what is left out is filled in', () => {
  test.each([
    ['no entry needs a certificate', dpop, 'off'],
    ['some need one', `${dpop}, ${bound}`, 'accept'],
    ['every entry needs one', `${channel}, ${bound}`, 'require'],
  ])('client certificates: %s', (_name, accept, expected) => {
    expect(wayIn(accept)?.client_certificates).toBe(expected);
    expect(wayIn(accept, ', client_certificates: require')?.client_certificates).toBe('require');
  });

  test('TLS with an identity, and none without or for an http origin', () => {
    expect(wayIn(dpop)?.tls).toBe('svid');
    const off = `{ origin: "https://a.org", accept: [${dpop}], forward_to: "http://[::1]:8080" }\nlisten: { inbound: "[::1]:15006" }`;
    expect(load(`${around('none')}inbound: ${off}`).inbound?.tls).toBe('off');
    expect(load(`${around()}inbound: ${off.replace('https://a.org', 'http://localhost:15006')}`).inbound?.tls).toBe(
      'off',
    );
  });

  test('the audience is the origin', () => {
    expect(wayIn(dpop)?.resource).toBe('https://a.example.org');
    expect(wayIn(dpop)?.callers).toBeUndefined();
  });
});

test.each([
  ['HTTPS://A.Example.org', 'https://a.example.org'],
  ['https://a.example.org:443', 'https://a.example.org'],
  ['https://a.example.org:8443', 'https://a.example.org:8443'],
  ['https://[2001:DB8::0:1]:8443', 'https://[2001:db8::1]:8443'],
  ['https://bücher.example', 'https://xn--bcher-kva.example'],
])('the origin %s is %s, as an htu is compared', (written, read) => {
  expect(wayIn(dpop, '', written)?.origin).toBe(read);
});

test.each([
  ['http://127.0.0.1', '127.0.0.1', 80],
  ['http://127.0.0.2:8080', '127.0.0.2', 8080],
  ['http://[::1]:8080', '::1', 8080],
  ['HTTP://LocalHost:8080', 'localhost', 8080],
])('the program at %s is at %s, port %i', (written, host, port) => {
  const text = `${around()}inbound: { origin: "https://a.org", accept: [${dpop}], forward_to: "${written}" }`;
  expect(load(text).inbound?.forward_to).toMatchObject({ host, port });
});

test('a tool says what its link permits', () => {
  const tool = (more: string) =>
    load(`${around()}
token_services: { s: { issuer: "https://s", client_auth: spiffe_jwt } }
tools: { t: { match: { host: h }, risk: write, token: { from: s, resource: "https://h", proof: dpop }${more} } }`).tools.get(
      't',
    );
  expect(tool('')).not.toHaveProperty('delegate');
  expect(tool('')?.chain).toBeUndefined();
  expect(tool(', chain: none')?.chain).toBe('none');
  expect(tool(', delegate: {}')?.delegate).toEqual({ hops: 0 });
  expect(tool(', chain: full, delegate: { resources: ["https://h", "https://x"], risk: read, hops: 5 }')).toMatchObject(
    {
      chain: 'full',
      delegate: { resources: ['https://h', 'https://x'], risk: 'read', hops: 5 },
    },
  );
});
