import type { JWTPayload } from 'jose';

/** Ways in which a token service answers other than it should, by what they change. */
export const answerLies = {
  html: { status: 200, type: 'text/html', body: '<html>login</html>' },
  html_with_json: { status: 200, type: 'text/html', body: '{"access_token":"x","token_type":"Bearer"}' },
  garbage: { status: 200, type: 'application/json', body: '{"access_token": "abc' },
  json_list: { status: 200, type: 'application/json', body: '[]' },
  empty_body: { status: 200, type: 'application/json', body: '' },
  no_content: { status: 204, type: 'application/json', body: '' },
  huge: { status: 200, type: 'application/json', body: `{"pad":"${'x'.repeat(1024 * 1024)}"}` },
  redirect: { status: 307, type: 'application/json', body: '' },
  invalid_request: { status: 400, error: 'invalid_request' },
  invalid_client: { status: 401, error: 'invalid_client' },
  // As Keycloak says them: of a client that may not exchange tokens, and of an audience that is no client of its realm.
  exchange_off: {
    status: 400,
    error: 'invalid_request',
    description: 'Standard token exchange is not enabled for the requested client',
  },
  audience_unavailable: {
    status: 400,
    error: 'invalid_request',
    description: 'Requested audience not available: crm',
  },
  bad_assertion: { status: 400, error: 'invalid_client', description: 'Client authentication with signed JWT failed' },
  no_audience: { status: 400, error: 'invalid_client', description: 'Audience not found' },
  invalid_grant: { status: 400, error: 'invalid_grant' },
  // As Keycloak says it of a wrong secret.
  wrong_secret: { status: 401, error: 'unauthorized_client' },
  unauthorized_client: { status: 400, error: 'unauthorized_client' },
  invalid_scope: { status: 400, error: 'invalid_scope' },
  invalid_target: { status: 400, error: 'invalid_target' },
  access_denied: { status: 403, error: 'access_denied' },
  unknown_error: { status: 400, error: 'x_unheard_of' },
  forbidden_page: { status: 403, type: 'text/html', body: '<html>no</html>' },
  rate_limited: { status: 429, error: 'slow_down', retryAfter: '7' },
  throttled: { status: 429, error: 'slow_down' },
  rate_limited_long: { status: 429, error: 'slow_down', retryAfter: '86400' },
  unavailable: { status: 503, type: 'text/plain', body: 'down' },
  broken: { status: 500, type: 'text/html', body: '<pre>stack</pre>' },
  nonce_for_ever: { status: 400, error: 'use_dpop_nonce' },
} as const satisfies Record<string, AnswerLie>;

interface AnswerLie {
  readonly status: number;
  readonly type?: string;
  readonly body?: string;
  readonly error?: string;
  /** In place of one that quotes what was sent. */
  readonly description?: string;
  readonly retryAfter?: string;
}

/** Lies about the connection: `slow` never answers, `trickle` never ends, `reset` cuts it, `half` cuts it within the answer. */
export type WireLie = 'slow' | 'trickle' | 'reset' | 'half';

type Members = Record<string, unknown>;

/** Changes to the members of the answer; the token itself is good. */
export const memberLies: Readonly<Record<string, (members: Members) => Members>> = {
  wider_scope: (m) => ({ ...m, scope: 'crm.read crm.write' }),
  n_a: (m) => ({ ...m, token_type: 'N_A' }),
  mac: (m) => ({ ...m, token_type: 'mac' }),
  bearer: (m) => ({ ...m, token_type: 'Bearer' }),
  dpop_unasked: (m) => ({ ...m, token_type: 'DPoP' }),
  missing_token_type: ({ token_type: _gone, ...m }) => m,
  missing_access_token: ({ access_token: _gone, ...m }) => m,
  empty_access_token: (m) => ({ ...m, access_token: '' }),
  header_injection: (m) => ({ ...m, access_token: `${String(m['access_token'])}\r\nx-injected: 1` }),
  missing_issued_token_type: ({ issued_token_type: _gone, ...m }) => m,
  other_issued_token_type: (m) => ({ ...m, issued_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }),
  longer_expires_in: (m) => ({ ...m, expires_in: 86_400 }),
  expires_in_over: (m) => ({ ...m, expires_in: 0 }),
  expires_in_odd: (m) => ({ ...m, expires_in: '60 minutes' }),
  no_expires_in: ({ expires_in: _gone, ...m }) => m,
  no_scope: ({ scope: _gone, ...m }) => m,
  scope_list: (m) => ({ ...m, scope: ['crm.read'] }),
  details: (m) => ({ ...m, authorization_details: [{ type: 'payment' }] }),
};

/** Changes to what the token says; the answer around it is good. */
export const claimLies: Readonly<Record<string, (claims: JWTPayload) => JWTPayload>> = {
  wider_token_scope: (c) => ({ ...c, scope: 'crm.read crm.write' }),
  wider_scp: (c) => ({ ...c, scp: ['crm.read', 'admin'] }),
  other_audience: (c) => ({ ...c, aud: 'payroll' }),
  extra_audience: (c) => ({ ...c, aud: ['crm', 'payroll'] }),
  empty_audience: (c) => ({ ...c, aud: [] }),
  missing_audience: ({ aud: _gone, ...c }) => c,
  other_sub: (c) => ({ ...c, sub: 'mallory' }),
  missing_sub: ({ sub: _gone, ...c }) => c,
  missing_act: ({ act: _gone, ...c }) => c,
  other_act: (c) => ({ ...c, act: { sub: 'spiffe://example.org/other' } }),
  act_text: (c) => ({ ...c, act: 'spiffe://example.org/invoice-bot' }),
  cut_chain: (c) => ({ ...c, act: { sub: 'spiffe://example.org/invoice-bot' } }),
  added_chain: (c) => ({ ...c, act: { ...Object(c['act']), act: { sub: 'spiffe://example.org/planted' } } }),
  missing_cnf: ({ cnf: _gone, ...c }) => c,
  other_cnf: (c) => ({ ...c, cnf: { jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' } }),
  longer_life: (c) => ({ ...c, exp: (c.exp ?? 0) + 86_400 }),
  longer_life_undated: ({ iat: _gone, ...c }) => ({ ...c, exp: (c.exp ?? 0) + 86_400 }),
  back_dated: (c) => ({ ...c, iat: (c.iat ?? 0) - 86_400 }),
  missing_exp: ({ exp: _gone, ...c }) => c,
  expired: (c) => ({ ...c, exp: (c.iat ?? 0) - 10 }),
  exp_text: (c) => ({ ...c, exp: `${c.exp}` }) as unknown as JWTPayload,
  not_yet: (c) => ({ ...c, nbf: (c.iat ?? 0) + 600 }),
  issued_in_future: (c) => ({ ...c, iat: (c.iat ?? 0) + 600, exp: (c.exp ?? 0) + 600 }),
  other_issuer: (c) => ({ ...c, iss: 'https://evil.example.org' }),
  issuer_with_slash: (c) => ({ ...c, iss: `${c.iss}/` }),
  token_details: (c) => ({ ...c, authorization_details: [{ type: 'payment' }] }),
};

/** Lies that concern the token's form, or several places at once. */
export type TokenLie = 'foreign_key' | 'unsigned' | 'id_token_typ' | 'no_typ' | 'opaque' | 'echo_subject' | 'inactive';

export type Lie = WireLie | TokenLie | keyof typeof answerLies | (string & {});

/** The answer that a lie gives without looking at the request, if it is one of those. */
export function lyingAnswer(lie: Lie | undefined): AnswerLie | undefined {
  return lie !== undefined && Object.hasOwn(answerLies, lie) ? answerLies[lie as keyof typeof answerLies] : undefined;
}

/** Every name of a lie, so that a typing error in a test is not a service that tells the truth. */
export function isKnownLie(lie: Lie): boolean {
  const others = 'slow trickle reset half foreign_key unsigned id_token_typ no_typ opaque echo_subject inactive'.split(
    ' ',
  );
  return [answerLies, memberLies, claimLies].some((lies) => Object.hasOwn(lies, lie)) || others.includes(lie);
}

/** A token with a header that says that nobody signed it. */
export function unsigned(claims: object): string {
  const encode = (text: string): string => Buffer.from(text).toString('base64url');
  return `${encode('{"alg":"none","typ":"at+jwt"}')}.${encode(JSON.stringify(claims))}.`;
}
