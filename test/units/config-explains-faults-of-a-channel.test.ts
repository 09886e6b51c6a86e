import { testRows, tool } from './config-explanation.ts';
import { dpop, loopback, wayIn, withoutDomains, withoutIdentity } from './config-way-in.ts';

testRows([
  [
    'presenters without certificates',
    wayIn('{ issuer: "https://i", proof: dpop, presenters: ‸{ planner: "spiffe://example.org/planner" } }'),
    /^inbound\.accept\[0\]\.presenters: has a meaning only with `proof: mtls`/,
  ],
  [
    'a tool of an unknown domain',
    tool(', tls: { spiffe_id: ‸"spiffe://a.org/crm" }'),
    /which is not in `trust\.domains`/,
  ],
  [
    'two ways to recognise a tool',
    `${tool(', tls: { spiffe_id: "spiffe://a.org/crm", ca: ‸/etc/ca.pem }')}\ntrust: { domains: { a.org: workload_api } }`,
    /^tools\.t\.tls\.ca: contradicts `spiffe_id`/,
  ],
  [
    'nothing to show to a tool',
    'version: 1\nagent: { name: a }\ntools: { t: { match: { host: h }, tls: { client: ‸svid } } }',
    /^tools\.t\.tls\.client: svid needs a workload identity/,
  ],
  [
    'mtls without identity',
    wayIn('{ issuer: "https://i", proof: ‸mtls }', '', { before: withoutIdentity, rest: loopback }),
    /^inbound\.accept\[0\]\.proof: mtls needs a workload identity/,
  ],
  [
    'mtls without TLS',
    wayIn('{ issuer: "https://i", proof: ‸mtls }', ', tls: off', { rest: loopback }),
    /mtls needs `tls: svid`/,
  ],
  [
    'mtls at an http origin',
    wayIn('{ issuer: "https://i", proof: ‸mtls }', '', { origin: '"http://127.0.0.1:1"', rest: loopback }),
    /mtls needs `tls: svid` and an https `origin`/,
  ],
  [
    'mtls without bundle',
    wayIn('{ issuer: "https://i", proof: ‸mtls }', '', { before: withoutDomains }),
    /needs an entry in `trust\.domains`/,
  ],
  [
    'mtls without certificates',
    wayIn('{ issuer: "https://i", proof: mtls }', ', client_certificates: ‸off'),
    /is off, but an entry of `accept`/,
  ],
  [
    'certificates without identity',
    wayIn(dpop, ', client_certificates: ‸require', { before: withoutIdentity, rest: loopback }),
    /client_certificates: require needs a workload identity/,
  ],
  [
    'certificates without TLS',
    wayIn(dpop, ', tls: off, client_certificates: ‸accept', { rest: loopback }),
    /accept needs `tls: svid`/,
  ],
  [
    'certificates without bundle',
    wayIn(dpop, ', client_certificates: ‸accept', { before: withoutDomains }),
    /accept needs an entry in/,
  ],
  [
    'svid without identity',
    wayIn(dpop, ', tls: ‸svid', { before: withoutIdentity, rest: loopback }),
    /^inbound\.tls: svid needs a workload identity/,
  ],
  [
    'svid at an http origin',
    wayIn(dpop, ', tls: ‸svid', { origin: '"http://localhost:1"' }),
    /svid needs an https `origin`/,
  ],
  ['plain to the world', wayIn(dpop, ', tls: ‸off'), /^inbound\.tls: is off, and `listen\.inbound` is not on loopback/],
  [
    'plain to the world by default',
    wayIn(dpop, '', { before: withoutIdentity }).replace('inbound', '‸inbound'),
    /^inbound\.tls: is off/,
  ],
  [
    'plain to one network',
    wayIn(dpop, ', tls: ‸off', { rest: 'listen: { inbound: "10.0.0.1:15006" }' }),
    /is not on loopback/,
  ],
  [
    'chain without identity',
    wayIn(dpop, ', chain: { require: ‸true }', { before: withoutIdentity, rest: loopback }),
    /^inbound\.chain\.require: a chain needs a workload identity/,
  ],
  [
    'chain without bundle',
    wayIn(dpop, ', chain: { require: ‸true }', { before: withoutDomains }),
    /a chain needs an entry in `trust\.domains`/,
  ],
  ['too many links', wayIn(dpop, ', chain: { max_links: ‸11 }'), /must be at most 10/],
  ['too long a chain', wayIn(dpop, ', chain: { max_bytes: ‸32769 }'), /must be at most 32768/],
]);
