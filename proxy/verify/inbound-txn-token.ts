import { hash } from 'node:crypto';
import { Refusal } from '../refusal.ts';
import { checkEndpoint, type IssuerMetadata, MetadataUnavailable, readOwnEndpoint } from '../trust/issuer-metadata.ts';
import { clockSkewSeconds } from '../trust/issuers.ts';
import { type JwksCache, KeysUnavailable } from '../trust/jwks.ts';
import { Memo } from '../trust/memo.ts';
import { Secret } from '../trust/secret.ts';
import { InvalidToken, isSeconds, readAudience, readStrictJws } from '../trust/strict-jws.ts';
import type { World } from '../world.ts';

/** A transaction token that a caller presented, verified. It is replayable by design: what it says counts for its caller only. */
export interface InboundTxnToken {
  readonly text: Secret;
  readonly txn: string;
  readonly sub: string;
  readonly iatSeconds: number;
  readonly expiresAtMs: number;
}

/** Whose transaction tokens are taken (`inbound.txn_token`). */
export interface AcceptedTxnTokens {
  /** The trust domain. */
  readonly audience: string;
  readonly issuer?: string | undefined;
  readonly jwks_uri?: string | undefined;
  readonly require: boolean;
  readonly once: boolean;
  readonly sub: 'same' | 'any';
  /** Milliseconds. */
  readonly max_lifetime: number;
}

const maxKept = 10_000;
/** Time for the keys, and the metadata that names them. */
const keysTimeoutMs = 2000;
/** A token of another kind by the same key is none (RFC 8725 3.11). */
const typ = 'txntoken+jwt';
const texts = ['txn', 'sub', 'scope', 'req_wl'] as const;

/** Verifies transaction tokens (draft-ietf-oauth-transaction-tokens) with the keys of one service, each once until it ends. */
export class InboundTxnTokens {
  readonly accepted: AcceptedTxnTokens;
  readonly #keys: JwksCache;
  readonly #metadata: IssuerMetadata;
  readonly #world: World;
  readonly #kept = new Memo<InboundTxnToken>(maxKept);

  constructor(accepted: AcceptedTxnTokens, keys: JwksCache, metadata: IssuerMetadata, world: World) {
    this.accepted = accepted;
    this.#keys = keys;
    this.#metadata = metadata;
    this.#world = world;
  }

  /**
   * The token that came with a request, or undefined where none did and none has to. Rejects with `token_missing`, `token_invalid` or
   * `token_wrong_audience`.
   * @param subject of the access token beside it; undefined for a caller without one.
   */
  async read(text: string | undefined, subject: string | undefined): Promise<InboundTxnToken | undefined> {
    if (text === undefined) {
      if (!this.accepted.require) return undefined;
      throw new Refusal('token_missing', 'This service takes requests with a transaction token only.');
    }
    const token = await this.#verify(text);
    // One caller's access token with the transaction of somebody else would be a third thing that nobody granted.
    if (this.accepted.sub === 'same' && subject !== undefined && token.sub !== subject) throw invalid('subject');
    return token;
  }

  async #verify(text: string): Promise<InboundTxnToken> {
    const key = hash('sha256', text, 'base64url');
    const kept = this.#kept.get(key);
    if (kept !== undefined && kept.expiresAtMs > this.#world.now()) return kept;
    try {
      const jws = readStrictJws(text);
      if (jws.header.typ !== typ) throw new InvalidToken('typ');
      await this.#keys.verify(jws, await this.#jwks(), 'sig', keysTimeoutMs);
      const token = this.#readClaims(text, jws.payload);
      this.#kept.set(key, token);
      return token;
    } catch (error) {
      if (error instanceof KeysUnavailable || error instanceof MetadataUnavailable)
        throw new Refusal('token_service_unavailable', 'The keys of the transaction token service cannot be had.');
      if (!(error instanceof InvalidToken)) throw error;
      throw error.reason === 'audience' ? new Refusal('token_wrong_audience') : invalid(error.reason);
    }
  }

  async #jwks(): Promise<URL> {
    const { issuer, jwks_uri: own } = this.accepted;
    if (own !== undefined) return checkEndpoint(own);
    if (issuer === undefined) throw new KeysUnavailable();
    const metadata = await this.#metadata.read(issuer, keysTimeoutMs);
    return readOwnEndpoint(metadata['jwks_uri'], issuer);
  }

  #readClaims(text: string, claims: Readonly<Record<string, unknown>>): InboundTxnToken {
    const { iss, aud, exp, iat, nbf, txn, sub } = claims;
    // `iss` is optional; one that is there is that of the service.
    if (iss !== undefined && iss !== this.accepted.issuer) throw new InvalidToken('issuer');
    if (!texts.every((name) => typeof claims[name] === 'string' && claims[name] !== ''))
      throw new InvalidToken('malformed');
    const now = this.#world.now();
    if (!isSeconds(exp) || exp * 1000 <= now) throw new InvalidToken('expired');
    if (!isSeconds(iat)) throw new InvalidToken('not_yet_valid');
    for (const start of [iat, nbf ?? iat])
      if (!isSeconds(start) || (start - clockSkewSeconds) * 1000 > now) throw new InvalidToken('not_yet_valid');
    if ((exp - iat) * 1000 > this.accepted.max_lifetime) throw invalid('lifetime');
    // Last: a token that is good nowhere any more was not stolen from elsewhere.
    const audience = readAudience(aud);
    if (audience.length !== 1 || audience[0] !== this.accepted.audience) throw new InvalidToken('audience');
    return { text: new Secret(text), txn: String(txn), sub: String(sub), iatSeconds: iat, expiresAtMs: exp * 1000 };
  }
}

/** @param reason one of our own closed words. */
function invalid(reason: string): Refusal {
  return new Refusal('token_invalid', `The transaction token is not valid here (${reason}).`);
}
