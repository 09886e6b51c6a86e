import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { good, testRows, tool } from './config-explanation.ts';

/** One tool named t with a static key, in one line. */
const keyed = (secret: string, more = '', host = 'h.example.org') =>
  `${good}tools: { t: { match: { host: ${host} }${more}, secret: ${secret} } }`;

const withIdp = good.replace(
  'token_services: {',
  'token_services: { idp: { issuer: "https://idp", client_auth: spiffe_jwt },',
);
const granted = (token: string, more = '') =>
  `${withIdp}tools: { t: { match: { host: h.example.org }, token: { from: s, audience: [t], ${token} }${more} } }`;

testRows([
  ['no grantor', granted('grant: ‸identity_chaining'), /needs `granted_by`/],
  ['grantor unknown', granted('grant: identity_chaining, granted_by: ‸idb'), /did you mean `idp`/],
  ['grantor is the issuer', granted('grant: identity_chaining, granted_by: ‸s'), /the service in `from` itself/],
  ['grantor without use', granted('granted_by: ‸idp'), /only with `grant: id_jag`/],
  ['client without name', granted('grant: ‸id_jag, granted_by: idp'), /needs `token_services\.s\.client_id`/],
  ['assertion without use', granted('assertion: ‸workload'), /only with `grant: jwt_bearer`/],
  [
    'type without exchange',
    granted('grant: client_credentials, requested_token_type: ‸jwt'),
    /only with `grant: token_exchange`/,
  ],
  [
    'statement about nobody',
    granted('grant: ‸identity_chaining, granted_by: idp', ', on_behalf_of: agent'),
    /no token to exchange/,
  ],
  [
    'detail without type',
    tool('', 'from: s, audience: [t], authorization_details: [‸{ actions: [a] }]'),
    /type: is missing/,
  ],
]);

const blind = (more: string) =>
  `${good.replace('spiffe_jwt', 'spiffe_jwt, verify: response-only')}tools: { t: { match: { host: h }, token: { from: s, audience: t, proof: dpop }${more} } }`;

testRows([
  [
    'unverified at a risk',
    blind(', risk: ‸write'),
    /at most read with tokens that nobody checks .*`unsafe_unverified: true`/,
  ],
]);

/** The tool says itself which of two services it takes. */
const either = (token: string, more = '', services = '') =>
  `${good.replace('token_services: {', `token_services: { u: { issuer: "https://u", client_auth: spiffe_jwt${services} },`)}tools: { t: { match: { host: h.example.org }, token: { from: [s, u], audience: [t], ${token} }${more} } }`;

testRows([
  ['unverified, one of several', either('proof: dpop', ', risk: ‸write', ', verify: response-only'), /of u\)/],
  [
    'unreadable, one of several',
    either('proof: ‸mtls', ', tls: { client: svid }', ', verify: response-only'),
    /mtls needs a token that can be read: `u`/,
  ],
  ['grantor is one of several', either('grant: identity_chaining, granted_by: ‸u'), /the service in `from` itself/],
  [
    'client without name, one of several',
    either('grant: ‸id_jag, granted_by: i', '', ', client_id: a }, i: { issuer: "https://i", client_auth: spiffe_jwt'),
    /needs `token_services\.s\.client_id`/,
  ],
]);

test('tokens that nobody checks are for reading only, or that is called unsafe', () => {
  expect(loadSettings(blind(''), 'w.yaml').settings.tools.get('t')?.risk).toBe('read');
  const { settings } = loadSettings(blind(', risk: payment, unsafe_unverified: true'), 'w.yaml');
  expect(listUnsafe(settings)).toEqual(['tools.t.unsafe_unverified']);
});

const txn = 'txn_token: { from: s, audience: d.example, scope: a }';

testRows([
  ['outside', tool(`, ${txn.replace(': {', ': ‸{')}`), /needs `trust_domain: inside`/],
  ['service unknown', tool(`, trust_domain: inside, ${txn.replace('from: s', 'from: ‸ss')}`), /did you mean `s`/],
  [
    'beside nothing',
    keyed('{ file: /f, in: header }', `, trust_domain: inside, ${txn.replace(': {', ': ‸{')}`),
    /goes beside a `token`/,
  ],
  ['inside without task', `${good}tools: { t: { match: { host: h }, trust_domain: ‸inside } }`, /belong to no task/],
]);

test('a workload may hand in its own token where there is no user', () => {
  const { settings } = loadSettings(
    granted('grant: jwt_bearer, assertion: workload', ', on_behalf_of: agent'),
    'w.yaml',
  );
  expect(settings.tools.get('t')?.token).toMatchObject({ grant: 'jwt_bearer', assertion: 'workload' });
});

testRows([
  ['token and secret', keyed('‸{ file: /f, in: header }', ', token: { from: s, audience: t }'), /in place of `token`/],
  ['no source', keyed('‸{ in: header }'), /needs `file` or `dir`, and not both/],
  ['two sources', keyed('‸{ file: /f, dir: /d, in: header }'), /needs `file` or `dir`, and not both/],
  [
    'query without name',
    `${good}tools: { t: { match: { host: h }, ‸secret: { file: /f, in: query } } }`,
    /name: is missing: `in: query` needs/,
  ],
  ['basic with name', keyed('{ file: /f, in: basic, name: ‸x }'), /no meaning with `in: basic`/],
  ['query with prefix', keyed('{ file: /f, in: query, name: k, prefix: ‸"a " }'), /only with `in: header`/],
  ['reserved header', keyed('{ file: /f, in: header, name: ‸Host }'), /has a meaning of its own/],
  ['wildcard', keyed('{ file: /f, in: header }', '', '‸"*.example.org"'), /since this tool has a `secret`/],
  ['grave risk', keyed('{ file: /f, in: header }', ', risk: ‸export'), /`unsafe_bearer: true` allows/],
  ['the value itself', keyed('{ file: /f, in: header, ‸value: x }'), /unknown key/],
]);

test('a static key at a tool of grave risk is taken only where that is called unsafe', () => {
  const { settings } = loadSettings(keyed('{ file: /f, in: header }', ', risk: export, unsafe_bearer: true'), 'w.yaml');
  expect(settings.tools.get('t')?.secret).toEqual({ file: '/f', in: 'header' });
});
