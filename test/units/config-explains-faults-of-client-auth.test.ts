import { good, type Row, testRows, tool } from './config-explanation.ts';

/** One service named s, in one line, with or without an identity. */
const service = (more: string, issuer = 'https://s.example.org', identity = '{ workload_api: "unix:///s" }') =>
  `version: 1\nagent: { name: a }\nidentity: ${identity}\ntoken_services: { ‸s: { issuer: "${issuer}", ${more} } }`;

/** The same with a mark of its own. */
const marked = (...parts: Parameters<typeof service>) => service(...parts).replace('{ ‸s:', '{ s:');

/** A tool with a bound token, from a service that is written like this. */
const bound = (auth: string, more = ', tls: { client: svid }', issuer = 'https://s.example.org') =>
  tool(more, 'from: s, audience: [t], proof: ‸mtls')
    .replace('client_auth: spiffe_jwt', auth)
    .replace('https://s.example.org', issuer);

const rows: readonly Row[] = [
  [
    'key without id',
    service('client_auth: private_key_jwt, client_key_file: /k'),
    /client_id: is missing: private_key_/,
  ],
  [
    'key without file',
    service('client_auth: private_key_jwt, client_id: i'),
    /client_key_file: is missing: private_key_jwt/,
  ],
  ['a way that is the name of what every object has', marked('client_auth: ‸toString'), /client_auth: /],
  [
    'certificate without key',
    service('client_auth: tls_client_auth, client_id: i, client_certificate_file: /c'),
    /client_key_file: is missing: tls_client_auth needs a file that holds the private key/,
  ],
  [
    'key without certificate',
    service('client_auth: tls_client_auth, client_id: i, client_key_file: /k'),
    /client_certificate_file: is missing/,
  ],
  ['cluster without token', service('client_auth: kubernetes_jwt'), /token_file: is missing: kubernetes_jwt needs/],
  [
    'SVID without identity',
    marked('client_auth: ‸spiffe_x509', undefined, 'none'),
    /client_auth: spiffe_x509 needs a workload identity.*private_key_jwt/,
  ],
  ['SVID with an id', marked('client_auth: spiffe_x509, client_id: ‸bot'), /client_id: is the SPIFFE ID.*leave it out/],
  [
    'certificate without TLS',
    marked('client_auth: spiffe_x509', 'http://127.0.0.1:1').replace('"http', '‸"http'),
    /issuer: must be https: spiffe_x509 needs a client certificate/,
  ],
  [
    'certificate at an endpoint without TLS',
    marked('client_auth: spiffe_x509, endpoints: { token: ‸"http://127.0.0.1:1/t" }'),
    /endpoints\.token: must be https/,
  ],
  [
    'audience',
    marked('client_auth: spiffe_jwt, assertion: { audience: ‸token }'),
    /assertion\.audience: .*token_endpoint/,
  ],
  ['typ', marked('client_auth: spiffe_jwt, assertion: { typ: ‸at+jwt }'), /assertion\.typ: /],
  ['verification off', marked('client_auth: spiffe_jwt, tls: { ‸verify: none }'), /verify/],
  [
    'two authorities for one origin',
    good.replace(
      ' } }',
      ', tls: { ca: /a } }, r: { issuer: "https://s.example.org:443/r", client_auth: spiffe_jwt, tls: { ca: ‸/b } } }',
    ),
    /r\.tls\.ca: must be the same for `s`, which has an endpoint at https:\/\/s\.example\.org too/,
  ],
  [
    'an authority for half of an origin',
    good.replace(' } }', ', tls: { ca: ‸/a } }, r: { issuer: "https://s.example.org/r", client_auth: spiffe_jwt } }'),
    /s\.tls\.ca: must be the same for `r`/,
  ],
  [
    'an issuer and a service with two authorities at one origin',
    `${good}\ntrust: { issuers: [{ issuer: "https://s.example.org/other", tls: { ca: ‸/b } }] }`,
    /^trust\.issuers\[0\]\.tls\.ca: must be the same as `token_services\.s\.tls\.ca`/,
  ],
  ['bound token, nothing shown', bound('client_auth: spiffe_jwt', ''), /proof: mtls needs `tls\.client: svid`/],
  [
    'bound token without identity',
    bound('client_auth: private_key_jwt, client_id: i, client_key_file: /k', '').replace(
      'identity: { workload_api: "unix:///s" }',
      'identity: none',
    ),
    /proof: mtls needs a workload identity.*use dpop/,
  ],
  [
    'bound token, other certificate',
    bound('client_auth: tls_client_auth, client_id: i, client_certificate_file: /c, client_key_file: /k'),
    /proof: mtls binds to the SVID, but `s` sees the certificate of tls_client_auth/,
  ],
  [
    'bound token without TLS',
    bound('client_auth: spiffe_jwt', undefined, 'http://127.0.0.1:1')
      .replace('‸', '')
      .replace('"http://127', '‸"http://127'),
    /issuer: must be https: a token with `proof: mtls` needs a client certificate/,
  ],
  [
    'nonces of a bound token',
    bound('client_auth: spiffe_jwt').replace('‸mtls', 'mtls, nonce: ‸required'),
    /nonce: has a meaning only with `proof: dpop`/,
  ],
];

testRows(rows);
