import { describe, expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { findWarnings } from '../../config/warnings.ts';

const load = (more: string) => loadSettings(`version: 1\nagent: { name: a }\n${more}`, 'w.yaml').settings;
const allow = 'rules: [{ name: r, effect: allow, when: "true" }]\n';
const service = 's: { issuer: "https://s", client_auth: client_secret_basic, client_id: i, client_secret_file: /f }';

test.each([
  ['no rule allows', 'tools: { t: { match: { host: h } } }', /^rules: no rule allows/],
  [
    'only observed',
    'tools: { t: { match: { host: h } } }\nrules: [{ name: r, effect: allow, when: "true", mode: observe }]',
    /^rules: no rule allows/,
  ],
  [
    'no opener',
    `${allow}token_services: { ${service} }\ntools: { t: { match: { host: h }, token: { from: s, audience: t } } }`,
    /^trust\.issuers: no issuer with an `audience`/,
  ],
  [
    'agent tool without task',
    `${allow}trust: { issuers: [{ issuer: "https://i", audience: a }] }\ntoken_services: { ${service} }\ntools: { t: { match: { host: h }, on_behalf_of: agent, token: { from: s, audience: t } } }`,
    /^tools\.t: is `on_behalf_of: agent`/,
  ],
  [
    'purpose below its tool',
    `${allow}tools: { t: { match: { host: h }, risk: payment } }\npurposes: { p: { tools: [t], risk: write } }`,
    /^purposes\.p: lists tool t of risk payment/,
  ],
  ['open way out', 'listen: { outbound: "0.0.0.0:15001" }', /^listen\.outbound: 0\.0\.0\.0 is not loopback/],
  ['open operator', 'operator: { listen: "[::]:1", tokens: { reader: /t } }', /^operator\.listen: :: is not loop/],
  ['unused service', `token_services: { ${service} }`, /^token_services\.s: no tool gets its token/],
])('%s', (_name, more, expected) => {
  expect(findWarnings(load(more))).toEqual([expect.stringMatching(expected)]);
});

describe('a tool on this machine', () => {
  const tokens = `${allow}trust: { issuers: [{ issuer: "https://i", audience: a }] }\ntoken_services: { ${service} }\n`;
  const token = 'token: { from: s, audience: t }';
  const warningsOf = (tool: string) => {
    const unused = tool.includes('from: s') ? [] : ['token_services.s: no tool gets its token from here.'];
    return findWarnings(load(`${tokens}tools: { t: { ${tool} } }`)).filter((text) => !unused.includes(text));
  };

  test.each([
    [`match: { host: localhost }, addresses: loopback, ${token}`],
    [`match: { host: "127.0.0.1" }, addresses: [private, loopback], ${token}`],
    ['match: { host: h }, addresses: loopback, secret: { file: /f, in: header }'],
    [`match: { host: localhost, scheme: http }, addresses: loopback, ${token}`],
  ])('whose port could be the agent’s own: { %s }', (tool) => {
    expect(warningsOf(tool)).toEqual([expect.stringMatching(/^tools\.t: names no port, and .*`match\.port`\.$/)]);
  });

  test.each([['"127.0.0.1"'], ['127.3.2.1'], ['"::1"'], ['"[::1]"']])('that no call reaches: %s', (host) => {
    for (const more of ['', ', addresses: private', `, ${token}`])
      expect(warningsOf(`match: { host: ${host} }${more}`)).toEqual([
        expect.stringMatching(/^tools\.t: \S+ is loopback, and `addresses` does not list `loopback`/),
      ]);
  });

  test.each([
    [`match: { host: localhost, port: 9500 }, addresses: loopback, ${token}`],
    [`match: { host: localhost }, dial: "127.0.0.1:9500", addresses: loopback, ${token}`],
    [`match: { host: "127.0.0.1" }, dial: "127.0.0.1:9500", ${token}`],
    ['match: { host: "127.0.0.1" }, addresses: loopback'],
    [`match: { host: localhost, scheme: https }, addresses: loopback, ${token}`],
    [`match: { host: localhost }, tls: { ca: /ca.pem }, addresses: loopback, ${token}`],
    [`match: { host: h }, addresses: private, ${token}`],
    ['match: { host: "10.0.0.1" }, addresses: private'],
  ])('without such a mistake: { %s }', (tool) => {
    expect(warningsOf(tool)).toEqual([]);
  });
});

test('an agent whose purpose is none of the purposes', () => {
  const text = 'version: 1\nagent: { name: a, purpose: q }\npurposes: { p: { tools: [] } }';
  expect(findWarnings(loadSettings(text, 'w.yaml').settings)).toEqual(['agent.purpose: is not one of `purposes`.']);
});

test('a configuration without likely mistakes warns of nothing', () => {
  expect(findWarnings(load(''))).toEqual([]);
});

test('W9: every setting that lowers safety and is on is listed, and no other', () => {
  const settings = load(
    'tools:\n  a: { match: { host: a }, plaintext: unsafe, unsafe_bearer: true }\n  b: { match: { host: b }, unsafe_raw_paths: true, unsafe_bearer: false, sensitivity: unsafe }',
  );
  expect(listUnsafe(settings)).toEqual(['tools.a.plaintext', 'tools.a.unsafe_bearer', 'tools.b.unsafe_raw_paths']);
});

/** A way in without fault or likely mistake; a row adds one. */
const wayIn = (accept: string, more = '', rest = '') =>
  load(
    `${allow}identity: { workload_api: "unix:///s" }
trust: { domains: { example.org: workload_api }, issuers: [{ issuer: "https://i" }, { issuer: "https://j" }] }
inbound: { origin: "https://a.example.org", forward_to: "http://127.0.0.1:8080", accept: [${accept}]${more} }
${rest}`,
  );
const mtls = '{ issuer: "https://i", proof: mtls }';
const dpop = '{ issuer: "https://j", proof: dpop }';
/** The service takes the tokens of callers, which are bound to their keys, with an actor token beside. */
const withActor = `token_services: { ${service.replace(' }', ', actor: client_credentials }')} }`;
const bearer = 'tools: { t: { match: { host: h }, token: { from: s, audience: t }';

describe('the way in and chains', () => {
  test('what is good warns of nothing', () => {
    const callers = ', callers: ["spiffe://example.org/p", "spiffe://example.org/**"]';
    expect(findWarnings(wayIn(mtls, callers))).toEqual([]);
    // A token that came without certificate may name an actor of any domain.
    expect(findWarnings(wayIn(`${mtls}, ${dpop}`, ', callers: ["spiffe://other.org/p"]'))).toEqual([]);
    expect(findWarnings(wayIn(dpop, ', tls: off, unsafe_plaintext: true'))).toEqual([]);
    expect(findWarnings(wayIn(dpop, '', `${withActor}\n${bearer} } }`))).toEqual([]);
    // Who has no certificate has a chain, and its last link names it.
    const chained = ', callers: ["spiffe://example.org/p"], chain: { require: true }';
    expect(findWarnings(wayIn(dpop, chained))).toEqual([]);
  });

  test('whose token needs no exchange for a bound caller, is not warned of', () => {
    const service1 = `token_services: { ${service} }`;
    for (const settings of [
      wayIn(mtls, '', `${service1}\n${bearer} } }`),
      wayIn(dpop, ', program: tool, present: original', `${service1}\n${bearer} } }`),
      wayIn(
        dpop,
        '',
        `${service1}\n${bearer}, on_behalf_of: agent } }\ntasks: { standing: { purpose: p, tools: [t] } }\npurposes: { p: { tools: [t] } }`,
      ),
    ]) {
      expect(findWarnings(settings)).toEqual([]);
    }
  });

  test('a service that only introspects is in use', () => {
    const own = '{ issuer: "https://i", proof: dpop, introspect: s }';
    const services = `token_services: { ${service.replace('https://s', 'https://i')} }`;
    expect(findWarnings(wayIn(own, '', services))).toEqual([]);
  });

  test.each([
    [
      'callers that no certificate names',
      wayIn(dpop, ', callers: ["spiffe://example.org/p"]'),
      /^inbound\.callers: no client certificates .*without a delegation chain and without an `act` claim/,
    ],
    [
      'callers of a domain whose links nobody can check',
      wayIn(dpop, ', callers: ["spiffe://other.org/p"], chain: { require: true }'),
      /^inbound\.callers: the trust domain of spiffe:\/\/other\.org\/p is not in/,
    ],
    [
      'tokens of callers that a service without actor will not exchange',
      wayIn(dpop, '', `token_services: { ${service} }\n${bearer} } }`),
      /^token_services\.s: has no `actor`, .* to t will be refused\.$/,
    ],
    [
      'tokens of callers that a service does not take',
      wayIn(dpop, '', `${withActor.replace('actor', 'bound_subject: refuse, actor')}\n${bearer} } }`),
      /^token_services\.s: takes no subject token .*`bound_subject: refuse`.* to t will be refused\.$/,
    ],
    [
      'callers of a foreign domain',
      wayIn(mtls, ', callers: ["spiffe://example.org/p", "spiffe://example.org.evil/**"]'),
      /^inbound\.callers: the trust domain of spiffe:\/\/example\.org\.evil is not in/,
    ],
    ['a switch without effect', wayIn(dpop, ', unsafe_plaintext: true'), /^inbound\.unsafe_plaintext: has no effect/],
    [
      'a signature of nothing',
      wayIn(dpop, ', present: handle, inert_alg: RS256'),
      /^inbound\.inert_alg: has no effect/,
    ],
    [
      'a chain that nothing binds',
      wayIn(dpop, '', `${withActor}\n${bearer}, chain: full } }`),
      /^tools\.t\.chain: without `token\.proof` whoever sees/,
    ],
    [
      'a delegation that goes nowhere',
      wayIn(dpop, '', `${withActor}\n${bearer}, delegate: { hops: 1 } } }`),
      /^tools\.t\.delegate: no chain goes to a bearer tool/,
    ],
    [
      'a listener without way in',
      load('listen: { inbound: "127.0.0.1:15006" }'),
      /^listen\.inbound: there is no way in without/,
    ],
  ])('%s', (_name, settings, expected) => {
    expect(findWarnings(settings)).toEqual([expect.stringMatching(expected)]);
  });

  test('W9: what lowers safety on the way in is listed', () => {
    const settings = wayIn(
      `${dpop}, { issuer: "https://i", unsafe_bearer: true }`,
      ', tls: off, unsafe_plaintext: true, present: unsafe_original',
    );
    expect(listUnsafe(settings).toSorted()).toEqual([
      'inbound.accept[1].unsafe_bearer',
      'inbound.present',
      'inbound.unsafe_plaintext',
    ]);
    expect(listUnsafe(wayIn(dpop, ', program: tool, present: original'))).toEqual([]);
  });
});
