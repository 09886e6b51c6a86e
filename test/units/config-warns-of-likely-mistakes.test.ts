import { describe, expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { findWarnings } from '../../config/warnings.ts';

const load = (more: string) => loadSettings(`version: 1\nagent: { name: a }\n${more}`, 'w.yaml').settings;
const allow = 'rules: [{ name: r, effect: allow, when: "true" }]\n';
const service = 's: { issuer: "https://s", client_auth: client_secret_basic, client_id: i, client_secret_file: /f }';

describe('tools that overlap are named', () => {
  const overlaps = (first: string, second: string) =>
    findWarnings(load(`${allow}tools: { one: { match: { ${first} } }, two: { match: { ${second} } } }`));

  test.each([
    ['host: h', 'host: h'],
    ['host: h', 'host: H.'],
    ['host: h', 'host: "*"'],
    ['host: a.b.example.org', 'host: "*.example.org"'],
    ['host: "*.b.example.org"', 'host: "*.example.org"'],
    ['host: h, port: 1', 'host: h'],
    ['host: h, paths: ["/api/**"]', 'host: h, paths: ["/x", "/*/y"]'],
    ['host: h, paths: ["/a*c"]', 'host: h, paths: ["/ab*"]'],
    ['host: h, paths: ["/api/**"]', 'host: h, paths: ["/api"]'],
    ['host: h, paths: ["/**/x"]', 'host: h, paths: ["/a/**"]'],
    ['host: h, methods: [GET, PUT]', 'host: h, methods: [PUT]'],
    ['host: h, methods: [GET]', 'host: h'],
  ])('{ %s } and { %s }', (first, second) => {
    expect(overlaps(first, second)).toEqual([expect.stringMatching(/^tools\.one and tools\.two overlap/)]);
    expect(overlaps(second, first)).toHaveLength(1);
  });

  test.each([
    ['host: h', 'host: g'],
    ['host: example.org', 'host: "*.example.org"'],
    ['host: badexample.org', 'host: "*.example.org"'],
    ['host: "*.a.org"', 'host: "*.b.org"'],
    ['host: h, port: 1', 'host: h, port: 2'],
    ['host: h, paths: ["/api/**"]', 'host: h, paths: ["/ap", "/x/api"]'],
    ['host: h, paths: ["/a*c"]', 'host: h, paths: ["/ab", "/b*"]'],
    ['host: h, paths: ["/a/*"]', 'host: h, paths: ["/a", "/a/", "/a/b/c"]'],
    ['host: h, methods: [GET]', 'host: h, methods: [PUT]'],
  ])('not { %s } and { %s }', (first, second) => {
    expect(overlaps(first, second)).toEqual([]);
    expect(overlaps(second, first)).toEqual([]);
  });

  test('long patterns cost little', () => {
    const long = `"/${'*a/'.repeat(200)}**"`;
    const started = performance.now();
    overlaps(`host: h, paths: [${long}]`, `host: h, paths: [${long.replaceAll('a', 'b')}]`);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

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
  ['open operator', 'operator: { listen: "[::]:15000" }', /^operator\.listen: :: is not loopback/],
  ['unused service', `token_services: { ${service} }`, /^token_services\.s: no tool gets its token/],
])('%s', (_name, more, expected) => {
  expect(findWarnings(load(more))).toEqual([expect.stringMatching(expected)]);
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
