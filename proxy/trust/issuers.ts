import type { World } from '../world.ts';
import { readActors } from './act-claim.ts';
import { checkEndpoint, type IssuerMetadata, MetadataUnavailable, readOwnEndpoint } from './issuer-metadata.ts';
import { type JwksCache, KeysUnavailable } from './jwks.ts';
import { isObject } from './strict-json.ts';
import {
  allowedTyps,
  endOf,
  InvalidToken,
  isSeconds,
  readAudience,
  readStrictJws,
  type StrictJws,
} from './strict-jws.ts';

/** Who a task is opened for: the claims of a subject token whose issuer, signature, audience and times were verified. */
export interface VerifiedSubject {
  readonly iss: string;
  readonly sub: string;
  /** Where the issuer names its tokens: what opens one task only. */
  readonly jti?: string;
  /** Milliseconds since the epoch; absent where the token does not say. */
  readonly issuedAtMs?: number;
  /** End of the token, and the latest end of everything that is exchanged for it. */
  readonly expiresAtMs: number;
  /** The inbound chain (RFC 8693 4.1), at most 10 well-formed actors. */
  readonly act?: unknown;
  /** The key that the token is bound to: somebody else's, since it was issued to another client. */
  readonly cnf?: Readonly<Record<string, unknown>>;
  readonly scope?: string;
}

/** The same of an access token that was presented to us, with all that it claims. */
export interface VerifiedAccessToken extends VerifiedSubject {
  /** The header `typ`, as `StrictHeader.typ`. */
  readonly typ: string;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** One entry of `trust.issuers` (WIRE 2). */
export interface TrustedIssuer {
  /** Compared byte for byte with `iss`. */
  readonly issuer: string;
  /** Audiences of which a subject token must name at least one; without any, no subject token of this issuer is accepted. */
  readonly audience?: string | readonly string[] | undefined;
  /** Values of the header `typ`; other kinds of token of the same issuer are refused. */
  readonly typ: readonly string[];
  /** In place of the one in the issuer's metadata, which must lie on the issuer's own origin. */
  readonly jwks_uri?: string | undefined;
}

export interface IssuersOptions {
  readonly issuers: readonly TrustedIssuer[];
  readonly keys: JwksCache;
  readonly metadata: IssuerMetadata;
  readonly world: World;
}

/** Clocks differ by up to this much; applied to `iat` and `nbf`. An `exp` that is over is over. */
export const clockSkewSeconds = 30;
/** Time for an issuer's metadata and keys together: whoever waits for them is answered within 2 s. */
const keysTimeoutMs = 1900;

/** Verifies subject tokens against `trust.issuers`. */
export class Issuers {
  readonly #byIssuer: ReadonlyMap<string, TrustedIssuer>;
  readonly #keys: JwksCache;
  readonly #metadata: IssuerMetadata;
  readonly #world: World;

  constructor(options: IssuersOptions) {
    this.#byIssuer = new Map(options.issuers.map((issuer) => [issuer.issuer, issuer]));
    this.#keys = options.keys;
    this.#metadata = options.metadata;
    this.#world = options.world;
  }

  /** Throws `InvalidToken` for a token that is not good, `KeysUnavailable` when its issuer's keys cannot be had. */
  async verifySubject(text: string): Promise<VerifiedSubject> {
    const jws = readStrictJws(text);
    const issuer = typeof jws.payload['iss'] === 'string' ? this.#byIssuer.get(jws.payload['iss']) : undefined;
    if (issuer === undefined) throw new InvalidToken('issuer');
    // All that costs nothing comes before the keys: a stranger's token must not cause a fetch.
    if (!allowedTyps(issuer.typ).has(jws.header.typ)) throw new InvalidToken('typ');
    checkAudience(jws.payload['aud'], issuer);
    const subject = readSubject(jws, issuer.issuer, this.#world.now());
    const endMs = this.#world.monotonic() + keysTimeoutMs;
    const url = await this.#jwksOf(issuer);
    await this.#keys.verify(jws, url, 'sig', Math.max(1, Math.ceil(endMs - this.#world.monotonic())));
    return subject;
  }

  /**
   * Verifies an access token that a caller presents to us (RFC 9068 4). The signature comes first: what a stranger writes into a token
   * must not be counted as the misuse of a real one. Throws as `verifySubject`.
   */
  async verifyAccessToken(text: string, resource: string): Promise<VerifiedAccessToken> {
    const jws = readStrictJws(text);
    const issuer = typeof jws.payload['iss'] === 'string' ? this.#byIssuer.get(jws.payload['iss']) : undefined;
    if (issuer === undefined) throw new InvalidToken('issuer');
    const endMs = this.#world.monotonic() + keysTimeoutMs;
    const url = await this.#jwksOf(issuer);
    await this.#keys.verify(jws, url, 'sig', Math.max(1, Math.ceil(endMs - this.#world.monotonic())));
    if (!allowedTyps(issuer.typ).has(jws.header.typ)) throw new InvalidToken('typ');
    const subject = readSubject(jws, issuer.issuer, this.#world.now());
    if (!readAudience(jws.payload['aud']).includes(resource)) throw new InvalidToken('audience');
    return { ...subject, typ: jws.header.typ, claims: jws.payload };
  }

  /** The key set of an issuer: as configured, else as its metadata says, and then on its own origin only. */
  async #jwksOf(issuer: TrustedIssuer): Promise<URL> {
    try {
      if (issuer.jwks_uri !== undefined) return checkEndpoint(issuer.jwks_uri);
      const metadata = await this.#metadata.read(issuer.issuer, keysTimeoutMs);
      return readOwnEndpoint(metadata['jwks_uri'], issuer.issuer);
    } catch (error) {
      if (error instanceof MetadataUnavailable) throw new KeysUnavailable();
      throw error;
    }
  }
}

/** The token was made for us, under one of our names; being one of several readers is enough for a subject token. */
function checkAudience(aud: unknown, issuer: TrustedIssuer): void {
  const ours = typeof issuer.audience === 'string' ? [issuer.audience] : (issuer.audience ?? []);
  if (!readAudience(aud).some((member) => ours.includes(member))) throw new InvalidToken('audience');
}

/** The claims that a task is opened with. Every one that is there has to have its proper form, needed or not. */
function readSubject({ payload, header: { typ } }: StrictJws, iss: string, nowMs: number): VerifiedSubject {
  const { sub, jti, exp, nbf, iat, act, cnf, scope } = payload;
  // Halves of surrogate pairs all become the same bytes where they are written or hashed: two names, or ids, would be one.
  if (typeof sub !== 'string' || sub === '' || !sub.isWellFormed()) throw new InvalidToken('subject');
  if (!isSeconds(exp) || exp * 1000 <= nowMs) throw new InvalidToken('expired');
  for (const start of [nbf, iat]) {
    if (start === undefined) continue;
    if (!isSeconds(start) || (start - clockSkewSeconds) * 1000 > nowMs) throw new InvalidToken('not_yet_valid');
  }
  if (jti !== undefined && !(typeof jti === 'string' && jti.isWellFormed())) throw new InvalidToken('malformed');
  if (cnf !== undefined && !isObject(cnf)) throw new InvalidToken('malformed');
  readActors(act);
  return {
    iss,
    sub,
    expiresAtMs: endOf(exp),
    ...(isSeconds(iat) ? { issuedAtMs: iat * 1000 } : {}),
    ...(jti === undefined ? {} : { jti }),
    ...(act === undefined ? {} : { act }),
    ...(cnf === undefined ? {} : { cnf }),
    ...(scope === undefined ? {} : { scope: readScope(scope, typ) }),
  };
}

/**
 * One text, as RFC 9068 2.2.3 wants it of a token that calls itself `at+jwt`; of others also the list of texts that Spring Authorization
 * Server writes. As one text either way.
 */
function readScope(scope: unknown, typ: string | undefined): string {
  const list: readonly unknown[] = Array.isArray(scope) && typ !== 'at+jwt' ? scope : [scope];
  if (!list.every((member) => typeof member === 'string')) throw new InvalidToken('malformed');
  return list.join(' ');
}
