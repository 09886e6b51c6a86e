import { good, testRows, tool } from './config-explanation.ts';

testRows([
  ['unknown service', tool('', 'from: ‸ss, audience: [t]'), /no token service of this name .* did you mean `s`\?/],
  ['unknown service in a list', tool('', 'from: [s, ‸ss], audience: [t]'), /no token service of this name/],
  ['service twice in a list', tool('', 'from: [s, ‸s], audience: [t]'), /is listed already/],
  ['wildcard with token', tool('', undefined, '‸"*.example.org"'), /one exact host, since this tool has a `token`/],
  [
    'token for anywhere',
    `${good}tools: { t: { match: { host: h }, token: ‸{ from: s } } }`,
    /needs `audience` or `resource`/,
  ],
  ['grave risk, bearer', tool(', risk: ‸payment'), /needs `token\.proof: dpop` or `mtls`; `unsafe_bearer: true`/],
  ['nonce without proof', tool('', 'from: s, audience: [t], nonce: ‸required'), /only with `proof: dpop`/],
  [
    'exchange without subject',
    tool(', on_behalf_of: agent', 'from: s, audience: t, grant: ‸token_exchange'),
    /the grant is client_credentials/,
  ],
  [
    'spiffe_jwt without identity',
    good.replace(/identity.*\n/, '').replace('spiffe_jwt', '‸spiffe_jwt'),
    /spiffe_jwt needs a workload identity/,
  ],
  [
    'jwt-svid without identity',
    'version: 1\nagent: { name: a }\nidentity: none\ntoken_services: { s: { issuer: "https://s", client_auth: client_secret_post, client_id: i, client_secret_file: /f, actor: ‸jwt-svid } }',
    /jwt-svid needs a workload identity/,
  ],
  [
    'secret without id',
    good.replace('s: { issuer', '‸s: { client_secret_file: /f, issuer').replace('spiffe_jwt', 'client_secret_basic'),
    /client_id: is missing: client_secret_basic needs/,
  ],
  [
    'secret without file',
    good.replace('s: { issuer', '‸s: { client_id: i, issuer').replace('spiffe_jwt', 'client_secret_post'),
    /client_secret_file: is missing: client_secret_post needs/,
  ],
  [
    'trust without identity',
    'version: 1\nagent: { name: a }\ntrust: { domains: { a.org: ‸workload_api } }',
    /workload_api needs a workload identity/,
  ],
  [
    'issuer twice',
    `${good}trust: { issuers: [{ issuer: "https://s" }, { issuer: ‸"https://s" }] }`,
    /listed above already/,
  ],
  [
    'rule name twice',
    `${good}rules:\n  - { name: r, effect: deny, when: "true" }\n  - { name: ‸r, effect: deny, when: "true" }`,
    /^rules\[1\]\.name: a rule of this name stands above/,
  ],
  [
    'unknown tool of a purpose',
    `${tool('')}\npurposes: { my work: { tools: [t, ‸tt] } }`,
    /^purposes\["my work"\]\.tools\[1\]: no tool .* did you mean `t`\?/,
  ],
  ['unknown standing tool', `${tool('')}\ntasks: { standing: { purpose: p, tools: [‸x1y] } }`, /no tool of this name/],
  [
    'standing tool for users',
    `${tool('')}\ntasks: { standing: { purpose: p, tools: [‸t] } }`,
    /`on_behalf_of: user`; the standing task needs/,
  ],
  [
    'standing purpose',
    `${tool(', on_behalf_of: any')}\npurposes: { q: { tools: [t] } }\ntasks: { standing: { purpose: ‸other, tools: [t] } }`,
    /is not one of `purposes`/,
  ],
  [
    'standing purpose is narrower',
    `${tool(', on_behalf_of: any')}\npurposes: { q: { tools: [] } }\ntasks: { standing: { purpose: q, tools: [‸t] } }`,
    /does not admit tool `t`/,
  ],
  ['port taken', `${good}listen: { outbound: ‸"127.0.0.1:15020" }`, /`listen\.metrics` listens at this address/],
  ['published key', `${good}ca: { dir: /run/ca/own, publish: ‸/run/ca/ }`, /must not read the key of the CA/],
  [
    'one token, two roles',
    `${good}operator: { tokens: { reader: /r, operator: ‸/x/../r } }`,
    /is the file of role `reader` too/,
  ],
]);
