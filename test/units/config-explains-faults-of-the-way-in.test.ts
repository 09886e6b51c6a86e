import { expect, test } from 'vitest';
import { explain, testRows } from './config-explanation.ts';
import { around, dpop, loopback, wayIn, withoutDomains, withoutIdentity, withTool } from './config-way-in.ts';

test('the rows stand on good ground', () => {
  expect(explain(wayIn(dpop))).toEqual([]);
  expect(explain(wayIn(dpop, '', { before: withoutIdentity, rest: loopback }))).toEqual([]);
  expect(explain(wayIn(dpop, '', { before: withoutDomains }))).toEqual([]);
  expect(explain(`${around}listen: { metrics: "0.0.0.0:15006" }`)).toEqual([]);
  expect(explain(withTool(', risk: write, delegate: { resources: ["https://h"], risk: read }'))).toEqual([]);
});

testRows([
  ['unknown issuer', wayIn('{ issuer: ‸"https://k", proof: dpop }'), /is not in `trust\.issuers`; did you mean/],
  [
    'unknown domain',
    wayIn('{ trust_domain: ‸example.com, proof: mtls }'),
    /is not in `trust\.domains`; did you mean `ex/,
  ],
  [
    'issuer twice',
    wayIn(`${dpop}, { issuer: ‸"https://i", unsafe_bearer: true }`),
    /^inbound\.accept\[1\]\.issuer: is listed/,
  ],
  [
    'domain twice',
    wayIn('{ trust_domain: example.org, proof: mtls }, { trust_domain: ‸example.org, proof: mtls }'),
    /^inbound\.accept\[1\]\.trust_domain: is listed above/,
  ],
  ['bearer by silence', wayIn('‸{ issuer: "https://i" }'), /accept\[0\]\.proof: is missing: .*`unsafe_bearer: true`/],
  ['bearer switched off', wayIn('‸{ issuer: "https://i", unsafe_bearer: false }'), /proof: is missing/],
  ['domain without proof', wayIn('‸{ trust_domain: example.org }'), /proof: is missing\. Such a caller is known by/],
  [
    'dpop without token',
    wayIn('{ trust_domain: example.org, proof: ‸dpop }'),
    /^inbound\.accept\[0\]\.proof: must be `mtls`/,
  ],
  [
    'proof and none',
    wayIn('{ issuer: "https://i", proof: dpop, unsafe_bearer: ‸true }'),
    /^inbound\.accept\[0\]\.unsafe_bearer: contradicts `proof`/,
  ],
  ['no entry', wayIn('').replace('[]', '‸[]'), /^inbound\.accept: must have at least 1 entry/],
  [
    'neither kind',
    wayIn('‸{ proof: mtls }'),
    /must be a mapping with `issuer`, .* or a mapping with `trust_domain`, `proof`/,
  ],
  ['slip in an entry', wayIn('{ issuer: "https://i", proof: dpop, ‸intro_spect: corp }'), /did you mean `introspect`/],
  [
    'slip in a proof',
    wayIn('{ issuer: "https://i", proof: ‸dpopp }'),
    /must be one of `dpop`, `mtls`; did you mean `dpop`/,
  ],
  [
    'both kinds in one',
    wayIn('{ issuer: "https://i", proof: dpop, ‸trust_domain: example.org }'),
    /trust_domain: does not go together with the other keys/,
  ],
  ['text for an entry', wayIn('‸"https://i"'), /^inbound\.accept\[0\]: must be a mapping with/],
  [
    'unknown service',
    wayIn('{ issuer: "https://i", proof: dpop, introspect: ‸corpp }'),
    /`token_services`; did you mean `corp`/,
  ],
  [
    'service of another issuer',
    wayIn('{ issuer: "https://i", proof: dpop, introspect: ‸other }'),
    /would be shown to somebody who did not issue it/,
  ],
  [
    'map of an issuer that is not taken',
    wayIn(dpop, ', subject_map: { ‸"https://j": "https://r" }'),
    /is not an issuer of `inbound\.accept`/,
  ],
  ['map that names no issuer', wayIn(dpop, ', subject_map: { "https://i": ‸r }'), /must be a whole URL/],
  ['caller that is no SPIFFE ID', wayIn(dpop, ', callers: [‸planner]'), /^inbound\.callers\[0\]: must be a SPIFFE ID/],
  [
    'caller by a part of a segment',
    wayIn(dpop, ', callers: [‸"spiffe://example.org/plan**"]'),
    /a last segment `\/\*\*`/,
  ],
  ['caller by one star', wayIn(dpop, ', callers: [‸"spiffe://example.org/*"]'), /a last segment `\/\*\*`/],
  ['caller by a star inside', wayIn(dpop, ', callers: [‸"spiffe://example.org/**/x"]'), /a last segment `\/\*\*`/],
  ['caller of any domain', wayIn(dpop, ', callers: [‸"spiffe://*/**"]'), /a last segment `\/\*\*`/],
  [
    'caller that is a domain',
    wayIn(dpop, ', callers: [‸"spiffe://example.org"]'),
    /every workload of a trust domain is/,
  ],
  [
    'caller with a final slash',
    wayIn(dpop, ', callers: [‸"spiffe://example.org/a/"]'),
    /without empty and dot segments/,
  ],
  ['caller with dots', wayIn(dpop, ', callers: [‸"spiffe://example.org/a/../b"]'), /without empty and dot segments/],
  ['caller in capitals', wayIn(dpop, ', callers: [‸"spiffe://Example.org/a"]'), /trust domain of lower-case letters/],
  ['caller with a port', wayIn(dpop, ', callers: [‸"spiffe://example.org:1/a"]'), /trust domain of lower-case letters/],
  ['nobody', wayIn(dpop, ', callers: ‸[]'), /^inbound\.callers: must have at least 1 entry/],
]);

test('a way in with everything wrong is explained at once, and nothing of it is repeated', () => {
  const found = explain(`${withoutIdentity}inbound:
  origin: http://hunter2.org/x
  accept: [{ issuer: "https://hunter2", proof: mtls }, { proof: hunter2 }]
  callers: [hunter2]
  present: original
  forward_to: http://hunter2
  forward: x
`);
  expect(found.map((line) => line.split(': ')[0])).toEqual([
    '6:1 inbound.tls',
    '7:11 inbound.origin',
    '8:22 inbound.accept[0].issuer',
    '8:48 inbound.accept[0].proof',
    '8:56 inbound.accept[1]',
    '9:13 inbound.callers[0]',
    '10:12 inbound.present',
    '11:15 inbound.forward_to',
    '12:3 inbound.forward',
  ]);
  expect(found.join('\n')).not.toContain('hunter2');
});
