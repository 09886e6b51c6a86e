import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { good, testRows } from './config-explanation.ts';
import { dpop, loopback, wayIn } from './config-way-in.ts';

testRows([
  [
    'origin with a path',
    wayIn(dpop, '', { origin: '‸"https://a.org/api"' }),
    /^inbound\.origin: must be an origin only/,
  ],
  ['origin with a slash', wayIn(dpop, '', { origin: '‸"https://a.org/"' }), /without path and final slash/],
  ['origin without slashes', wayIn(dpop, '', { origin: '‸"https:a.org"' }), /must be an origin only/],
  ['origin with a query', wayIn(dpop, '', { origin: '‸"https://a.org?x"' }), /must not have a query/],
  ['origin with a user', wayIn(dpop, '', { origin: '‸"https://u@a.org"' }), /user name or password/],
  ['origin with a final dot', wayIn(dpop, '', { origin: '‸"https://a.org."' }), /must not have a dot at the end/],
  [
    'http origin',
    wayIn(dpop, '', { origin: '‸"http://a.org"', rest: loopback }),
    /plain http is accepted for loopback only/,
  ],
  ['origin that is none', wayIn(dpop, '', { origin: '‸"spiffe://a.org"' }), /must be an https URL/],
  ['resource', wayIn(dpop, ', resource: ‸worker'), /absolute URI without fragment/],
  [
    'program elsewhere',
    wayIn(dpop, '', { to: '‸"http://10.0.0.1:8080"' }),
    /^inbound\.forward_to: .* pass by the way in/,
  ],
  ['program everywhere', wayIn(dpop, '', { to: '‸"http://0.0.0.0:8080"' }), /must be an http URL on loopback/],
  ['program by name', wayIn(dpop, '', { to: '‸"http://agent:8080"' }), /must be an http URL on loopback/],
  [
    'program that looks like loopback',
    wayIn(dpop, '', { to: '‸"http://127.0.0.1.evil.org:8080"' }),
    /must be an http URL on loopback/,
  ],
  [
    'program by a name below localhost',
    wayIn(dpop, '', { to: '‸"http://a.localhost:8080"' }),
    /must be an http URL on loopback/,
  ],
  ['program over TLS', wayIn(dpop, '', { to: '‸"https://127.0.0.1:8080"' }), /TLS within a pod is not needed/],
  ['program with a path', wayIn(dpop, '', { to: '‸"http://127.0.0.1:8080/api"' }), /host and port only/],
  ['program with a slash', wayIn(dpop, '', { to: '‸"http://127.0.0.1:8080/"' }), /ends without a slash/],
  ['program with a user', wayIn(dpop, '', { to: '‸"http://u:p@127.0.0.1:8080"' }), /host and port only/],
  ['program at port 0', wayIn(dpop, '', { to: '‸"http://127.0.0.1:0"' }), /host and port only/],
  ['own way in', wayIn(dpop, '', { to: '‸"http://127.0.0.1:15006"' }), /is `listen\.inbound` of this sidecar/],
  ['own way out', wayIn(dpop, '', { to: '‸"http://localhost:15001"' }), /is `listen\.outbound` of this sidecar/],
  [
    'own operator’s side',
    wayIn(dpop, '', { to: '‸"http://127.0.0.1:15000"' }),
    /is `operator\.listen` of this sidecar/,
  ],
  [
    'own listener on every address',
    wayIn(dpop, '', { to: '‸"http://[::1]:1"', rest: 'listen: { health: "[::]:1" }' }),
    /is `listen\.health` of this sidecar/,
  ],
  ['original for an agent', wayIn(dpop, ', present: ‸original'), /original is for `program: tool`/],
  [
    'original for an agent that says so',
    wayIn(dpop, ', program: agent, present: ‸original'),
    /original is for `program: tool`/,
  ],
  [
    'unsafe_original for a tool',
    wayIn(dpop, ', program: tool, present: ‸unsafe_original'),
    /with `program: tool` it is `original`/,
  ],
  [
    'port taken',
    wayIn(dpop, '', { rest: 'listen: { metrics: ‸"127.0.0.1:15006" }' }),
    /`listen\.inbound` listens at this address/,
  ],
  [
    'port taken on every address',
    wayIn(dpop, '', { rest: 'listen: { inbound: ‸"0.0.0.0:15001" }' }),
    /`listen\.outbound` listens/,
  ],
  [
    'port taken on every address of both families',
    wayIn(dpop, '', { rest: 'listen: { inbound: ‸"[::]:15001" }' }),
    /`listen\.outbound` listens/,
  ],
  [
    'port taken, in another spelling of every address',
    `${good}listen: { health: ‸"[0:0::0]:15001" }`,
    /`listen\.outbound` listens/,
  ],
  [
    'port taken, in IPv6 for IPv4',
    `${good}listen: { health: ‸"[::FFFF:127.0.0.1]:15001" }`,
    /`listen\.outbound` listens/,
  ],
  [
    'socket with a long path',
    `${good}operator: { socket: ‸/${'a'.repeat(107)} }`,
    /^operator\.socket: must be a path of at most 107 bytes/,
  ],
  // 106 signs, 108 bytes.
  ['socket with a path of many bytes', `${good}operator: { socket: ‸/${'a'.repeat(103)}éé }`, /at most 107 bytes/],
  [
    'key of the CA where the agent reads',
    `${good}ca: { dir: /r/ca, publish: ‸/r }`,
    /^ca\.publish: must be another folder than `ca\.dir`: the agent/,
  ],
  [
    'one folder for both, in other words',
    `${good}ca: { dir: /r/./ca/, publish: ‸/r/x/../ca }`,
    /^ca\.publish: must be another folder/,
  ],
  [
    'socket where the agent reads',
    `${good}ca: { publish: /r }\noperator: { socket: ‸/r/op.sock }`,
    /^operator\.socket: must not be in `ca\.publish` \(\/r\)/,
  ],
  [
    'token where the agent reads',
    `${good}ca: { publish: /r }\noperator: { tokens: { reader: ‸/r/a/b } }`,
    /^operator\.tokens\.reader: must not be in `ca\.publish`/,
  ],
  [
    'record where the agent reads',
    `${good}ca: { publish: /r }\nrecord: { file: ‸/r/e }`,
    /^record\.file: must not be in `ca\.publish`/,
  ],
  [
    'revocations in the record',
    `${good}record: { file: /r/e }\noperator: { revocations: ‸/r/../r/e }`,
    /^operator\.revocations: is a file of `record\.file` \(\/r\/e\) too/,
  ],
  [
    'record where the revocations are written anew',
    `${good}record: { file: /r/e.part }\noperator: { revocations: ‸/r/e }`,
    /^operator\.revocations: is a file of `record\.file` \(\/r\/e\.part\)/,
  ],
  [
    'record in the key of the CA',
    `${good}ca: { dir: /r }\nrecord: { file: ‸/r/ca.key }`,
    /^record\.file: is a file of `ca\.dir`/,
  ],
  [
    'record in the token of a role',
    `${good}record: { file: /r/t }\noperator: { tokens: { operator: ‸/r/t } }`,
    /^operator\.tokens\.operator: is a file of `record\.file`/,
  ],
  [
    'one token for two roles',
    `${good}operator: { tokens: { reader: /t, operator: ‸/x/../t } }`,
    /^operator\.tokens\.operator: is the file of role `reader` too/,
  ],
]);

test('an address that is spelled otherwise is the same place', () => {
  const at = (text: string) =>
    loadSettings(`${good}listen: { outbound: "${text}" }\n`, 'w.yaml').settings.listen.outbound;
  expect(at('[0:0:0:0:0:0:0:1]:15001')).toEqual({ address: '::1', port: 15_001 });
  expect(at('[::ffff:127.0.0.1]:15001')).toEqual({ address: '127.0.0.1', port: 15_001 });
  expect(at('[FD00::A]:15001').address).toBe('fd00::a');
});
