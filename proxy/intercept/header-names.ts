import { NameMemo } from '../trust/name-memo.ts';

/** What a request header is to us. `forward`: end to end, passed on as it came. */
export type HeaderClass =
  | 'forward'
  | 'hop'
  | 'identity'
  | 'credential'
  | 'host'
  | 'content-length'
  | 'transfer-encoding'
  | 'connection'
  | 'proxy-authorization'
  | 'expect'
  | 'cookie'
  | 'via'
  | 'origin'
  | 'fetch-site'
  | 'traceparent'
  | 'tracestate'
  | 'selection';

const named: ReadonlyMap<string, HeaderClass> = new Map([
  ['host', 'host'],
  ['content-length', 'content-length'],
  ['transfer-encoding', 'transfer-encoding'],
  ['connection', 'connection'],
  ['proxy-authorization', 'proxy-authorization'],
  ['expect', 'expect'],
  ['cookie', 'cookie'],
  ['cookie2', 'cookie'],
  ['via', 'via'],
  ['origin', 'origin'],
  ['sec-fetch-site', 'fetch-site'],
  ['traceparent', 'traceparent'],
  ['tracestate', 'tracestate'],
  ['accept-encoding', 'selection'],
  ['range', 'selection'],
  ['if-range', 'selection'],
  ['authorization', 'credential'],
  ['x-api-key', 'credential'],
]);

/** Hop by hop (RFC 9110 7.6.1), and what only makes sense on the connection it came on. */
const hop = [
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'upgrade',
  'http2-settings',
  'alt-used',
  'proxy-authenticate',
];

/**
 * Headers that state who calls, for whom, by which proof or along which path (W12). An agent that could send them could pose as
 * somebody else before a tool that believes them; method and URL overrides would make the tool read another request than our rules.
 */
const identity = [
  'dpop',
  'txn-token',
  'workload-identity-token',
  'workload-proof-token',
  'signature',
  'signature-input',
  'signature-key',
  'signature-agent',
  'oauth-client-attestation',
  'oauth-client-attestation-pop',
  'forwarded',
  'x-forwarded',
  'x-forwardedfor',
  'client-cert',
  'client-cert-chain',
  'x-client-cert',
  'x-client-dn',
  'x-client-verify',
  'x-ssl-cert',
  'x-arr-clientcert',
  'x-real-ip',
  'true-client-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'cf-connecting-ip',
  'fastly-client-ip',
  'x-user',
  'x-email',
  'x-groups',
  'x-roles',
  'x-user-id',
  'x-user-email',
  'x-user-name',
  'x-user-groups',
  'x-user-roles',
  'x-username',
  'x-userinfo',
  'x-auth-user',
  'x-auth-username',
  'x-auth-email',
  'x-auth-groups',
  'on-behalf-of',
  'x-on-behalf-of',
  'x-authenticated-user',
  'x-authenticated-userid',
  'x-credential-identifier',
  'x-endpoint-api-userinfo',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-url',
  'x-original-uri',
  'x-original-host',
  'x-original-method',
  'x-rewrite-url',
  'x-host',
  'x-http-host-override',
];
const identityPrefixes = [
  'waybill-',
  'x-waybill-',
  'x-forwarded-',
  'remote-',
  'x-remote-',
  'impersonate-',
  'ssl-client-',
  'x-ssl-client-',
  'tls-client-',
  'x-tls-client-',
  'oidc-claim-',
  'x-auth-request-',
  'x-webauth-',
  'x-authentik-',
  'x-pomerium-',
  'x-vouch-',
  'x-jwt-',
  'x-consumer-',
  'cf-access-',
  'tailscale-user-',
  'x-amzn-oidc-',
  'x-amzn-mtls-',
  'x-apigateway-api-',
  'x-goog-iap-',
  'x-goog-authenticated-user-',
  'x-ms-client-principal',
  'x-ms-token-',
  'x-envoy-peer-metadata',
  'x-envoy-external-address',
  'x-spiffe-',
  'x-delegation-',
];

/**
 * The class of a header name in any case and spelling. `_` and `.` count as `-` for every name that means something to us, because
 * CGI-like tools fold them into one; such a spelling is dropped and never read.
 * @param extraCredentials lower-case names that carry a handle at some tool (`handle_header`).
 */
export function headerClassifier(extraCredentials: ReadonlySet<string>): (name: string) => HeaderClass {
  const memo = new NameMemo((name) => classify(name, extraCredentials));
  return (name) => memo.of(name);
}

function classify(name: string, extraCredentials: ReadonlySet<string>): HeaderClass {
  const lower = name.toLowerCase();
  const folded = lower.replaceAll(/[_.]/g, '-');
  const decided = classOf(folded, extraCredentials);
  return decided !== 'forward' && folded !== lower && !extraCredentials.has(lower) ? 'hop' : decided;
}

function classOf(name: string, extraCredentials: ReadonlySet<string>): HeaderClass {
  const own = named.get(name);
  if (own !== undefined) return own;
  if (extraCredentials.has(name)) return 'credential';
  if (hop.includes(name) || name.startsWith('proxy-')) return 'hop';
  if (identity.includes(name) || identityPrefixes.some((prefix) => name.startsWith(prefix))) return 'identity';
  return 'forward';
}

const passWithConnection = new Set([
  'close',
  'keep-alive',
  'te',
  'trailer',
  'upgrade',
  'http2-settings',
  'proxy-connection',
]);

/** Whether `Connection` may nominate this name. Nominating a header that we read or inject would let the agent delete it (W12). */
export function mayBeNominated(option: string, classOfName: (name: string) => HeaderClass): boolean {
  if (passWithConnection.has(option)) return true;
  const folded = option.replaceAll(/[_.]/g, '-');
  // It says what the body has to be, and is compared.
  if (folded === 'content-digest') return false;
  const decided = classOfName(folded);
  return ['forward', 'hop', 'traceparent', 'tracestate', 'selection', 'fetch-site'].includes(decided);
}
