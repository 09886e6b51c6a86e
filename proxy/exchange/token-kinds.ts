/** What an order asks for: a token that a tool takes, or a statement of one service for another. */
export type TokenKind = 'access_token' | 'jwt' | 'id_jag' | 'chaining_grant' | 'txn_token';

/** What is asked for by a kind's name, and what is got. */
export interface TokenForm {
  /** `requested_token_type` and `issued_token_type` (RFC 8693 3). */
  readonly type: string;
  /** A kind that is no access token has `token_type: N_A`, is always a signed JWT, and says more than an access token has to. */
  readonly statement?: {
    /** Values of the JWT header `typ`; empty for none. Each keeps a token from being taken for another kind (RFC 8725 3.11). */
    readonly typ: readonly string[];
    /** Claims that must be there, as texts. */
    readonly claims: readonly string[];
    /** Whether `iss` may be absent: the key says who signed. */
    readonly anonymous: boolean;
  };
}

/** Longest life of a statement: it goes from one service to another at once, or stands beside calls for a few minutes. */
export const maxStatementMs = 300_000;

const uri = (name: string): string => `urn:ietf:params:oauth:token-type:${name}`;

/** The kinds, each with its form. */
export const tokenKinds: Readonly<Record<TokenKind, TokenForm>> = {
  access_token: { type: uri('access_token') },
  jwt: { type: uri('jwt') },
  // draft-ietf-oauth-identity-assertion-authz-grant 3
  id_jag: {
    type: uri('id-jag'),
    statement: { typ: ['oauth-id-jag+jwt'], claims: ['sub', 'jti', 'client_id'], anonymous: false },
  },
  // draft-ietf-oauth-identity-chaining 2.3: a JWT without a type of its own.
  chaining_grant: { type: uri('jwt'), statement: { typ: ['', 'jwt'], claims: ['sub'], anonymous: false } },
  // draft-ietf-oauth-transaction-tokens
  txn_token: {
    type: uri('txn_token'),
    statement: { typ: ['txntoken+jwt'], claims: ['txn', 'sub', 'scope', 'req_wl'], anonymous: true },
  },
};
