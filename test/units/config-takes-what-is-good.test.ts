import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { configDigest, loadSettings, loadSettingsFile } from '../../config/load.ts';

const example = join(import.meta.dirname, '../../config/examples/waybill.yaml');

/** The keys of DESIGN 8 and WIRE 2 that belong to the way out, as they are written there. */
const design = `
version: 1
agent:    { name: invoice-bot, owner: payments@example.org, purpose: reconcile invoices, environment: production, uid: 1000 }
identity: { workload_api: "unix:///run/spire/agent.sock" }
trust:    { domains: { example.org: workload_api }, issuers: [ { issuer: https://sso.example.org/realms/corp, audience: [invoice-bot, other], typ: [at+jwt], jwks_uri: "https://sso.example.org/keys" } ] }
token_services:
  corp:   { issuer: https://sso.example.org/realms/corp, profile: keycloak, client_auth: spiffe_jwt,
            actor: none, verify: jwt, expect: { sub: same, act: none, typ: [at+jwt] }, max_lifetime: 1h }
  own:    { issuer: "http://127.0.0.1:9000", client_auth: client_secret_post, client_id: bot, client_secret_file: /run/secret, actor: client_credentials,
            bound_subject: refuse, verify: introspect, timeout: 250ms,
            endpoints: { token: "http://127.0.0.1:9000/token", revocation: "http://[::1]:9000/revoke", introspection: "http://localhost:9000/introspect", jwks: "https://keys.example.org/jwks?x=1" } }
tools:
  crm:
    match:  { host: crm.example.org, port: 8443, protocol: http, paths: ["/api/**"], methods: [GET] }
    token:  { from: corp, audience: [crm], resource: "https://crm.example.org", scopes: [crm.read], use_for: 5m, proof: dpop, nonce: required }
    risk:   payment
    sensitivity: internal
    on_behalf_of: user
    addresses: private
    dial:   127.0.0.1:8443
    tls:    { ca: /etc/ca.pem }
    handle_header: X-CRM-Key
  catalogue:
    match:  { host: catalogue.example.org }
    token:  { from: [own, corp], audience: catalogue, grant: client_credentials }
    on_behalf_of: agent
    addresses: [public, loopback]
    plaintext: unsafe
    unsafe_bearer: true
    unsafe_raw_paths: true
  rest:     { match: { host: "*" } }
rules:
  - { name: crm-for-reconciling, effect: allow,            when: 'call.tool == "crm" && task.purpose == "reconcile invoices"' }
  - { name: four-eyes,           effect: require-approval, when: 'tool.risk in ["payment", "export"]' }
  - { name: short-paths,         effect: deny, mode: observe, when: 'size(chain.path) > 4' }
purposes: { reconcile invoices: { tools: [crm, rest], risk: payment }, refresh: { tools: [catalogue] } }
tasks:    { mode: request, linger: 2s, deadline: 15m, standing: { purpose: refresh, tools: [catalogue] }, max_open: 5 }
dns:      { servers: ["127.0.0.1:5353", "::1"] }
ca:       { dir: /run/ca, publish: /run/published }
operator: { socket: /run/o.sock, listen: 127.0.0.1:0, tokens: { reader: /r, orchestrator: /o, approver: /a, operator: /p } }
listen:   { outbound: 127.0.0.1:15001, metrics: "[::1]:0", health: 0.0.0.0:15021 }
record:   { file: /var/lib/waybill/events.jsonl, stdout: true }
`;

const small = (more: string) => loadSettings(`version: 1\nagent: { name: a }\n${more}`, 'x.yaml').settings;
const tool = (more: string) => small(`tools:\n  t:\n    match: { host: h.example.org }\n${more}`).tools.get('t');

test('the example parses', () => {
  const { settings, digest } = loadSettingsFile(example);
  expect([...settings.tools.keys()]).toEqual(['crm', 'docs']);
  expect(digest).toBe(createHash('sha256').update(readFileSync(example)).digest('hex'));
});

test('every key of the way out in DESIGN 8 and WIRE 2 parses', () => {
  const { settings } = loadSettings(design, 'waybill.yaml');
  expect(settings.agent.uid).toBe(1000);
  expect(settings.identity).toEqual({ workload_api: 'unix:///run/spire/agent.sock' });
  expect(settings.trust.domains.get('example.org')).toBe('workload_api');
  expect(settings.trust.issuers[0]?.audience).toEqual(['invoice-bot', 'other']);
  expect(settings.token_services.get('own')?.endpoints.jwks).toBe('https://keys.example.org/jwks?x=1');
  expect(settings.token_services.get('own')?.timeout).toBe(250);
  expect(settings.tools.get('crm')).toEqual({
    name: 'crm',
    match: { host: 'crm.example.org', port: 8443, protocol: 'http', paths: ['/api/**'], methods: ['GET'] },
    token: {
      from: ['corp'],
      audience: ['crm'],
      resource: 'https://crm.example.org',
      scopes: ['crm.read'],
      use_for: 300_000,
      proof: 'dpop',
      nonce: 'required',
      requested_token_type: 'access_token',
    },
    risk: 'payment',
    sensitivity: 'internal',
    on_behalf_of: 'user',
    addresses: ['private'],
    dial: { address: '127.0.0.1', port: 8443 },
    tls: { ca: '/etc/ca.pem', client: 'none' },
    handle_header: 'x-crm-key',
    unsafe_bearer: false,
    unsafe_raw_paths: false,
    unsafe_unverified: false,
  });
  expect(settings.tools.get('catalogue')?.token?.from).toEqual(['own', 'corp']);
  expect(settings.tasks).toMatchObject({ linger: 2000, deadline: 900_000, standing: { tools: ['catalogue'] } });
  expect(settings.listen.metrics).toEqual({ address: '::1', port: 0 });
  expect(settings.rules.map((rule) => rule.mode)).toEqual(['enforce', 'enforce', 'observe']);
});

test('every default is filled in', () => {
  const settings = small('');
  expect(settings.inbound).toBeUndefined();
  expect(settings).toEqual({
    version: 1,
    agent: { name: 'a', owner: '', purpose: '', environment: '' },
    identity: 'none',
    trust: { domains: new Map(), issuers: [] },
    token_services: new Map(),
    tools: new Map(),
    rules: [],
    purposes: new Map(),
    tasks: {
      mode: 'request',
      linger: 2000,
      bind: 'none',
      deadline: 900_000,
      standing: 'off',
      trace_rung: 'read',
      max_open: 10_000,
    },
    replay: {
      ledger: 'memory',
      nonce: 'required',
      max_entries: 1_000_000,
      window: 60_000,
      future: 5000,
      on_replay: 'block',
    },
    dns: { servers: [] },
    ca: {},
    operator: { listen: { address: '127.0.0.1', port: 15_000 }, tokens: {} },
    listen: {
      outbound: { address: '127.0.0.1', port: 15_001 },
      inbound: { address: '0.0.0.0', port: 15_006 },
      metrics: { address: '127.0.0.1', port: 15_020 },
      health: { address: '127.0.0.1', port: 15_021 },
    },
    record: { stdout: false },
  });
});

describe('what the profile and the actor decide', () => {
  const service = (more: string) =>
    small(
      `identity: { workload_api: "tcp://127.0.0.1:8081" }\ntoken_services: { s: { issuer: "https://s", client_auth: spiffe_jwt${more} } }`,
    ).token_services.get('s');

  test('a plain service', () => {
    expect(service('')).toMatchObject({ profile: 'rfc8693', actor: 'none', bound_subject: 'accept' });
    expect(service('')?.expect).toEqual({
      sub: 'same',
      act: 'any',
      typ: ['at+jwt', 'JWT'],
      scopes: 'asked',
      life: 'any',
      workload: 'self',
    });
    expect(service('')).toMatchObject({ max_lifetime: 3_600_000, timeout: 2000, verify: 'jwt' });
  });

  test('a service that is told the actor must name it', () => {
    expect(service(', actor: jwt-svid')?.expect.act).toBe('self');
    expect(service(', actor: jwt-svid, expect: { act: any }')?.expect.act).toBe('any');
  });

  test('keycloak', () => {
    expect(service(', profile: keycloak')).toMatchObject({
      bound_subject: 'refuse',
      expect: { typ: ['at+jwt', 'JWT'], scopes: 'subject', life: 'cut' },
    });
  });

  test('entra: on behalf of is a grant of its own, with subjects that are pairwise', () => {
    expect(service(', profile: entra-obo')).toMatchObject({
      expect: { sub: 'any', act: 'none', typ: ['JWT'] },
      max_lifetime: 5_400_000,
      dialect: { grant: 'jwt_bearer', parameters: { requested_token_use: 'on_behalf_of' }, target: 'compared' },
    });
    expect(service(', profile: entra-obo, expect: { sub: same }, max_lifetime: 1h')).toMatchObject({
      expect: { sub: 'same' },
      max_lifetime: 3_600_000,
    });
  });
});

test.each([
  ['CRM.Example.ORG.', 'crm.example.org'],
  ['10.1.2.3', '10.1.2.3'],
  ['"[2001:DB8:0::1]"', '2001:db8::1'],
  ['"::1"', '::1'],
  ['"*.Example.org"', '*.example.org'],
  ['my_service.ns.svc', 'my_service.ns.svc'],
])('host %s is %s, as a call names it', (written, read) => {
  expect(small(`tools: { t: { match: { host: ${written} } } }`).tools.get('t')?.match.host).toBe(read);
});

test('a single value stands for a list of one', () => {
  expect(tool('    addresses: loopback')?.addresses).toEqual(['loopback']);
});

test('tools keep the order of the file, since the earlier line decides ties', () => {
  const names = ['z', 'constructor', 'b10', 'b9', 'a'];
  const settings = small(`tools:\n${names.map((name) => `  ${name}: { match: { host: h } }`).join('\n')}`);
  expect([...settings.tools.keys()]).toEqual(names);
  expect(settings.tools.get('toString')).toBeUndefined();
});

test('the settings cannot be changed', () => {
  const { settings } = loadSettings(design, 'waybill.yaml');
  const frozen = [
    settings,
    settings.agent,
    settings.tasks,
    settings.rules,
    settings.rules[0],
    settings.tools.get('crm'),
  ];
  expect(frozen.every(Object.isFrozen)).toBe(true);
});

test('a later finding can be placed', () => {
  const text = 'version: 1\nagent: { name: a }\nrules:\n  - name: one\n    effect: allow\n    when: "true"\n';
  const { locate } = loadSettings(text, 'x.yaml');
  expect(locate(['rules', 0, 'when'])).toEqual({ line: 6, column: 11 });
  expect(locate(['rules', 0, 'mode'])).toEqual({ line: 4, column: 5 });
  expect(locate(['tools', 'x'])).toEqual({ line: 1, column: 1 });
});

test('the digest is that of the text', () => {
  expect(configDigest('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});
