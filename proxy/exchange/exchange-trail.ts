/** A token as events know it (WIRE 3). */
export interface CredentialFacts {
  readonly service: string;
  readonly id: string;
  readonly audience: readonly string[];
  readonly scopes: readonly string[];
  readonly from: 'exchange';
  /** RFC 3339; absent where a rejected answer did not say. */
  readonly expires_at?: string | undefined;
}

/** What all events of a token share. `ms` is how long the exchange, or the way back, took. */
export interface TokenEvent {
  readonly txn: string;
  readonly tool: string;
  readonly service: string;
  readonly ms: number;
}

/** `first` for a task and tool, a `refresh` ahead of time, or a `renewal` after the tool called the token expired. */
export type IssueCause = 'first' | 'refresh' | 'renewal';

/** Why an answer of a service was rejected (W5): a closed set, safe to record and to label with. */
export type RejectCause =
  | 'redirect'
  | 'status'
  | 'oversize'
  | 'not_json'
  | 'malformed'
  | 'token_type'
  | 'issued_token_type'
  | 'scope'
  | 'authorization_details'
  | 'lifetime'
  | 'echo'
  | 'inactive'
  | 'signature'
  | 'issuer'
  | 'audience'
  | 'subject'
  | 'actor'
  | 'client'
  | 'confirmation'
  | 'typ'
  | 'time';

/**
 * Why a token is taken back. `completed` to `revoked` are the ends of a task (WIRE 1); `unverified` is a token that could not be
 * checked, `task_ended` one whose task ended while it was being issued, `identity_lost` one that was obtained by an identity which this
 * workload no longer has, `reconfigured` one of a tool or a service whose configuration changed, `superseded` one that another took the
 * place of, and `expired` also one that no call came for again.
 */
export type RevocationCause =
  | 'completed'
  | 'failed'
  | 'expired'
  | 'revoked'
  | 'shutdown'
  | 'token_rejected'
  | 'unverified'
  | 'task_ended'
  | 'identity_lost'
  | 'reconfigured'
  | 'superseded'
  | 'refused_by_tool'
  | 'evicted';

/** `failed` gave up after its attempts, `expired` ended by itself before, `lost` found the queue full. */
export type RevocationOutcome = 'revoked' | 'failed' | 'unsupported' | 'expired' | 'lost';

/** How one exchange ended; label of `waybill_exchanges_total`. */
export type ExchangeOutcome =
  | 'issued'
  | 'token_service_unavailable'
  | 'grant_dead'
  | 'exchange_refused'
  | 'token_rejected'
  | 'identity_unavailable'
  | 'fault';

/** Label of `waybill_token_cache_total`. `refresh` starts one in the background, `stale` serves the old one while it runs or after it failed. */
export type CacheResult = 'hit' | 'miss' | 'refresh' | 'stale' | 'negative';

/** Port: what the record room writes and counts of this room. Synchronous, and never throws into an exchange. */
export interface ExchangeTrail {
  issued(info: TokenEvent & { readonly cause: IssueCause; readonly credential: CredentialFacts }): void;
  /** `credential` is absent where the answer held no token. */
  rejected(info: TokenEvent & { readonly cause: RejectCause; readonly credential?: CredentialFacts | undefined }): void;
  /** A token outlives its subject token, and is used until that ends. `lifetime` is the one cause yet. */
  cut(info: TokenEvent & { readonly cause: 'lifetime'; readonly credential: CredentialFacts }): void;
  revoked(info: TokenEvent & { readonly cause: RevocationCause; readonly credential: CredentialFacts }): void;
  exchanged(service: string, outcome: ExchangeOutcome, seconds: number): void;
  revocation(cause: RevocationCause, outcome: RevocationOutcome): void;
  cache(result: CacheResult): void;
}

/** The record of a token: what tells it apart, and nothing that could be used. */
export function credentialOf(token: {
  readonly service: string;
  readonly id: string;
  readonly audience: readonly string[];
  readonly scopes: readonly string[];
  readonly expiresAtMs?: number;
}): CredentialFacts {
  const { service, id, audience, scopes, expiresAtMs } = token;
  const facts = { service, id, audience, scopes, from: 'exchange' } as const;
  return expiresAtMs === undefined ? facts : { ...facts, expires_at: new Date(expiresAtMs).toISOString() };
}
