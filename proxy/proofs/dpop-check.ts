import { InvalidToken, isSeconds, readStrictJws, readStrictPayload } from '../trust/strict-jws.ts';
import type { DpopClaims } from './dpop.ts';
import { isSameTarget } from './htu.ts';
import { readPublicJwk, type PublicJwk } from './public-jwk.ts';

/** Reasons of WIRE 4. `proof_invalid` is what is malformed, or not signed by the key in its own header. */
export type ProofFaultReason =
  | 'proof_invalid'
  | 'proof_wrong_method'
  | 'proof_wrong_target'
  | 'proof_expired'
  | 'clock_skew'
  | 'proof_wrong_token';

/** The check that failed: more than the caller is told, and a closed set that may be recorded. */
export type ProofCheck = 'malformed' | 'alg' | 'claims' | 'typ' | 'jwk' | 'signature' | 'htm' | 'htu' | 'iat' | 'ath';

/** A proof that does not hold. Carries no part of it, and, being expected, no stack. */
export class ProofFault extends Error {
  readonly reason: ProofFaultReason;
  readonly check: ProofCheck;

  constructor(reason: ProofFaultReason, check: ProofCheck) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(`${reason}: ${check}`);
    Error.stackTraceLimit = limit;
    this.reason = reason;
    this.check = check;
  }
}

/**
 * Keys by the text of the header that they stood in: a caller sends the same header with each of its proofs, and to read it costs more
 * than the rest. Only headers of proofs that were verified get in, and whoever verifies has found the key in a verified token before.
 */
const knownHeaders = new Map<string, PublicJwk>();
const maxKnownHeaders = 1024;

const proofTyp = 'dpop+jwt';

type Payload = Readonly<Record<string, unknown>>;
type ReadClaims = DpopClaims & { readonly ath: string };

/** A JWT with a key in its header: neither its claims nor its `typ` were looked at, and nothing of it is believed yet. */
class ReadProof {
  readonly #text: string;
  readonly #jwk: PublicJwk;
  readonly #typ: string | undefined;
  /** Whether its header is known from a proof that was verified. */
  readonly #isKnown: boolean;
  readonly #payload: Payload;

  constructor(text: string, jwk: PublicJwk, payload: Payload, header: { typ: string | undefined; isKnown: boolean }) {
    this.#text = text;
    this.#jwk = jwk;
    this.#payload = payload;
    this.#typ = header.typ;
    this.#isKnown = header.isKnown;
  }

  /** Thumbprint of the key in the header, to be compared with `cnf.jkt` of a verified token before anything is computed. */
  get jkt(): string {
    return this.#jwk.jkt;
  }

  readClaims(): ReadClaims {
    const claims = readClaims(this.#payload);
    if (this.#typ !== proofTyp) throw new ProofFault('proof_invalid', 'typ');
    return claims;
  }

  checkSignature(): void {
    const key = this.#jwk.importKey();
    if (key === undefined) throw new ProofFault('proof_invalid', 'jwk');
    const dot = this.#text.lastIndexOf('.');
    const signature = Buffer.from(this.#text.slice(dot + 1), 'base64url');
    if (!this.#jwk.isSigner(key, this.#text.slice(0, dot), signature))
      throw new ProofFault('proof_invalid', 'signature');
    if (this.#isKnown) return;
    if (knownHeaders.size >= maxKnownHeaders) knownHeaders.clear();
    knownHeaders.set(headerOf(this.#text), this.#jwk);
  }
}

export type UnverifiedProof = ReadProof;

/** What a proof that holds for a request says beside. Its nonce, its chain and whether it is spent are left to the caller. */
export interface VerifiedProof {
  /** Its one use is claimed under (`jkt`, `jti`). */
  readonly jti: string;
  readonly jkt: string;
  readonly iatSeconds: number;
  readonly nonce: string | undefined;
  /** `base64url(SHA-256)` of the delegation header that was sent with it (DESIGN 6); undefined where none was. */
  readonly wbd: string | undefined;
}

/** The request that a proof has to be for, and when. */
export interface ProvedRequest {
  readonly method: string;
  /** `inbound.origin` of the configuration in normal form, never the Host header. */
  readonly origin: string;
  /** As in the request line. */
  readonly path: string;
  /** `base64url(SHA-256(token))` of the token that came with it. */
  readonly ath: string;
  readonly nowMs: number;
  readonly maxAgeMs: number;
  readonly futureMs: number;
}

/**
 * Reads the value of the one `DPoP` header of a request to a resource, as far as its key (RFC 9449 4.3, checks 2, 5 and 7). No signature is
 * looked at: anybody can make proofs, and one must cost us no more than this, about 10 us, until its key is known to be a token's. Nor are
 * the claims: who holds a stolen token and makes his proofs badly is to be told as a thief. Throws `ProofFault`.
 */
export function readDpopProof(headerValue: string): UnverifiedProof {
  const known = knownHeaders.get(headerOf(headerValue));
  if (known !== undefined) {
    const payload = strictly(readStrictPayload, headerValue);
    return new ReadProof(headerValue, known, payload, { typ: proofTyp, isKnown: true });
  }
  const { header, payload } = strictly(readStrictJws, headerValue);
  const jwk = readPublicJwk(header.alg, readKeyOf(headerValue));
  if (typeof jwk === 'string') throw new ProofFault('proof_invalid', jwk);
  return new ReadProof(headerValue, jwk, payload, { typ: header.typ, isKnown: false });
}

/**
 * Verifies that a proof was made by its key for this request and token (checks 3, 4, 6, 8, 9, 11 and 12, in this order). The caller has
 * compared `jkt` with the token's before, and judges nonce and chain and claims (`jkt`, `jti`) after. Synchronous, and little more than one
 * verification of a signature. Throws `ProofFault` with the reason of the first check that fails.
 */
export function verifyDpopProof(proof: UnverifiedProof, expected: ProvedRequest): VerifiedProof {
  const { htm, htu, iatSeconds, jti, ath, nonce, wbd } = proof.readClaims();
  proof.checkSignature();
  if (htm !== expected.method) throw new ProofFault('proof_wrong_method', 'htm');
  if (!isSameTarget(htu, expected.origin, expected.path)) throw new ProofFault('proof_wrong_target', 'htu');
  const madeAtMs = iatSeconds * 1000;
  if (madeAtMs + expected.maxAgeMs < expected.nowMs) throw new ProofFault('proof_expired', 'iat');
  if (madeAtMs - expected.futureMs > expected.nowMs) throw new ProofFault('clock_skew', 'iat');
  if (ath !== expected.ath) throw new ProofFault('proof_wrong_token', 'ath');
  return { jti, jkt: proof.jkt, iatSeconds, nonce, wbd };
}

/** The text before the first dot; of what has none, a text that is no header. */
function headerOf(text: string): string {
  return text.slice(0, text.indexOf('.'));
}

function strictly<Read>(read: (text: string) => Read, text: string): Read {
  try {
    return read(text);
  } catch (error) {
    throw new ProofFault(
      'proof_invalid',
      error instanceof InvalidToken && error.reason === 'alg' ? 'alg' : 'malformed',
    );
  }
}

/** The strict reading hands out no key of a header, as everywhere but here it must not be used. The text was read strictly before. */
function readKeyOf(text: string): unknown {
  const header: unknown = JSON.parse(Buffer.from(headerOf(text), 'base64url').toString());
  return Object.entries(header ?? {}).find(([member]) => member === 'jwk')?.[1];
}

function readClaims({ jti, htm, htu, iat, ath, nonce, wbd }: Payload): ReadClaims {
  if (!isId(jti) || !isText(htm) || !isText(htu) || !isSeconds(iat)) throw new ProofFault('proof_invalid', 'claims');
  if (!isText(ath)) throw new ProofFault('proof_invalid', 'ath');
  if (!isOptionalText(nonce) || !isOptionalText(wbd)) throw new ProofFault('proof_invalid', 'claims');
  return { jti, htm, htu, iatSeconds: iat, ath, nonce, wbd };
}

/** An id of 1 to 256 bytes. Lone surrogates would all become the same bytes, and two ids one. */
function isId(value: unknown): value is string {
  return isText(value) && value !== '' && value.isWellFormed() && Buffer.byteLength(value) <= 256;
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isOptionalText(value: unknown): value is string | undefined {
  return value === undefined || isText(value);
}
