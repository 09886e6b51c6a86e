import { createPublicKey, type KeyObject } from 'node:crypto';
import { compactVerify } from 'jose';
import type { World } from '../world.ts';
import { KeptDocument } from './kept-document.ts';
import { isRocaModulus } from './roca.ts';
import { isWholeRsaSignature } from './rsa-signature.ts';
import { isObject, parseStrictJson } from './strict-json.ts';
import { InvalidToken, type StrictCompact } from './strict-jws.ts';

/** Port: fetches a public document. Follows no redirect, bounds time (whole milliseconds) and size, and rejects when there is no answer. */
export type FetchDocument = (
  url: URL,
  init: { method: 'GET'; headers: Record<string, string>; timeoutMs: number; maxBytes: number },
) => Promise<{ status: number; body: string }>;

/**
 * Port: the private authority by which an origin is verified now; undefined where the public ones count. A document is only as good as
 * who vouched for its place: what was fetched under another authority is not believed any more.
 */
export type VouchedBy = (url: URL) => string | undefined;

/** Where only the public authorities count. */
export const byPublicOnes: VouchedBy = () => undefined;

/** What a key may be used for: `sig` for OAuth issuers, `jwt-svid` in SPIFFE bundles. */
export type KeyUse = 'sig' | 'jwt-svid';

/** One public key with what its owner says about it. */
export interface TrustedKey {
  readonly kid: string | undefined;
  /** As published; `sig`, `jwt-svid`, or something that is not for us. */
  readonly use: string | undefined;
  /** The only algorithm that the key may be used with, where its owner says so. */
  readonly alg: string | undefined;
  /** `RSA`, or the name of the curve. */
  readonly kind: string;
  readonly key: KeyObject;
}

/** The keys of an issuer cannot be had at the moment. Says nothing about the token. */
export class KeysUnavailable extends Error {
  constructor() {
    super('keys unavailable');
  }
}

/** Which kind of key an algorithm is for (RFC 7518 3.1, RFC 8037): a key of another kind is never tried. */
const kindOfAlg: Readonly<Record<string, string>> = {
  RS256: 'RSA',
  RS384: 'RSA',
  RS512: 'RSA',
  PS256: 'RSA',
  PS384: 'RSA',
  PS512: 'RSA',
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  EdDSA: 'Ed25519',
  Ed25519: 'Ed25519',
};

/** A JWK Set of honest size is a few kilobytes; what is larger is not read to its end. */
const maxJwksBytes = 256 * 1024;
const maxKeys = 100;
/**
 * An issuer that is down for a day still has its tokens verified; a key that it withdrew is gone with the first fetch after ten
 * minutes, which is waited for as long as half of the time allows. An unknown `kid` fetches at most every ten seconds: the header is
 * the sender's to choose.
 */
const keeping = { ttlMs: 600_000, keepMs: 24 * 3_600_000, freshPart: 0.5, retryMs: 1000, renewMs: 10_000 };

/** Verified key sets by URL, and by who vouches for it. Keys of different URLs never mix: the same `kid` elsewhere is another key. */
export class JwksCache {
  readonly #world: World;
  readonly #fetch: FetchDocument;
  readonly #vouchedBy: VouchedBy;
  readonly #sets = new Map<string, KeptDocument<readonly TrustedKey[]>>();

  constructor(world: World, fetch: FetchDocument, vouchedBy: VouchedBy = byPublicOnes) {
    this.#world = world;
    this.#fetch = fetch;
    this.#vouchedBy = vouchedBy;
  }

  /**
   * Verifies the signature of a strictly read JWS with the issuer's key that its header names. Throws `InvalidToken` (`key`,
   * `signature`), or `KeysUnavailable`.
   * @param url comes from the configuration or from checked metadata, never from a token; so the map of sets is bounded.
   */
  async verify(jws: StrictCompact, url: URL, use: KeyUse, timeoutMs: number): Promise<void> {
    const set = this.#setOf(url);
    let key = pickKey(await set.read(timeoutMs), jws.header, use);
    // A key that was rotated in since: asked for once, not per token.
    key ??= pickKey(await set.renew(timeoutMs), jws.header, use);
    if (key === undefined) throw new InvalidToken('key');
    await verifySignature(jws, key);
  }

  #setOf(url: URL): KeptDocument<readonly TrustedKey[]> {
    const name = `${this.#vouchedBy(url)} ${url.href}`;
    let set = this.#sets.get(name);
    if (set === undefined) {
      set = new KeptDocument(
        this.#world,
        keeping,
        (timeoutMs) => this.#load(url, timeoutMs),
        () => new KeysUnavailable(),
      );
      this.#sets.set(name, set);
    }
    return set;
  }

  async #load(url: URL, timeoutMs: number): Promise<readonly TrustedKey[]> {
    try {
      const reply = await this.#fetch(url, {
        method: 'GET',
        headers: { accept: 'application/jwk-set+json, application/json' },
        timeoutMs,
        maxBytes: maxJwksBytes,
      });
      if (reply.status !== 200) throw new KeysUnavailable();
      return readJwks(reply.body);
    } catch {
      // The cause may quote the URL or the body; who asks needs to know only that there are no keys.
      throw new KeysUnavailable();
    }
  }
}

/** Reads a JWK Set. An empty list is valid and means that all keys are revoked; a document without one is not a key set. */
function readJwks(text: string): readonly TrustedKey[] {
  const { keys } = parseStrictJson(text);
  if (!Array.isArray(keys) || keys.length > maxKeys) throw new KeysUnavailable();
  return keys.map(readKey).filter((key) => key !== undefined);
}

/**
 * Imports one public JWK, or returns undefined for what is not for us: unknown and symmetric kinds, keys with private members, RSA
 * below 2048 bits or from a generator that is broken. Only the members that make up the key are read; `x5c`, `x5u` and the like are not.
 */
export function readKey(jwk: unknown): TrustedKey | undefined {
  if (!isObject(jwk) || 'd' in jwk || 'k' in jwk) return undefined;
  const { kty, crv, n, e, x, y, kid, use, alg, key_ops: operations } = jwk;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return undefined;
  const members: Readonly<Record<string, unknown>> =
    kty === 'RSA' ? { kty, n, e } : kty === 'EC' ? { kty, crv, x, y } : { kty, crv, x };
  if (!isTexts(members)) return undefined;
  try {
    const key = createPublicKey({ key: members, format: 'jwk' });
    if (kty === 'RSA' && !isSaneRsa(key.asymmetricKeyDetails?.modulusLength, String(n))) return undefined;
    return { kid: textOf(kid), use: textOf(use), alg: textOf(alg), kind: kty === 'RSA' ? 'RSA' : String(crv), key };
  } catch {
    return undefined;
  }
}

/** The one key that the header names and that its owner allows for this use, or undefined. There is no key by default. */
function pickKey(
  keys: readonly TrustedKey[],
  header: { readonly alg: string; readonly kid: string | undefined },
  use: KeyUse,
): TrustedKey | undefined {
  if (header.kid === undefined) return undefined;
  const [first, ...more] = keys.filter((key) => key.kid === header.kid && isFor(key, header.alg, use));
  // Two keys that both fit would mean trying until one verifies. A key that is listed twice is one.
  return first !== undefined && more.every(({ key }) => key.equals(first.key)) ? first : undefined;
}

/** Whether a key may verify this algorithm for this use. A SPIFFE bundle names the use; an OAuth key set may leave it out. */
export function isFor(key: TrustedKey, alg: string, use: KeyUse): boolean {
  if (key.use !== use && !(use === 'sig' && key.use === undefined)) return false;
  // String equality on purpose: jose takes EdDSA and Ed25519 for one another.
  if (key.alg !== undefined && key.alg !== alg) return false;
  return key.kind === kindOfAlg[alg];
}

/** Throws `InvalidToken('signature')` unless the key made it. The algorithm is the one that was matched to the key. */
export async function verifySignature(jws: StrictCompact, key: TrustedKey): Promise<void> {
  const signature = Buffer.from(jws.text.slice(jws.text.lastIndexOf('.') + 1), 'base64url');
  if (key.kind === 'RSA' && !isWholeRsaSignature(key.key, signature)) throw new InvalidToken('signature');
  try {
    await compactVerify(jws.text, key.key, { algorithms: [jws.header.alg] });
  } catch {
    throw new InvalidToken('signature');
  }
}

function isTexts(members: Readonly<Record<string, unknown>>): members is Record<string, string> {
  return Object.values(members).every((member) => typeof member === 'string');
}

function isSaneRsa(bits: number | undefined, modulus: string): boolean {
  return bits !== undefined && bits >= 2048 && bits <= 8192 && !isRocaModulus(modulus);
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
