import { createHash, randomBytes } from 'node:crypto';
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify, type JWTPayload } from 'jose';

/** Why a proof was refused: the `error` of the DPoP challenge (RFC 9449 7.1, 9), and one sentence without any token in it. */
export interface ProofRefusal {
  readonly error: 'invalid_dpop_proof' | 'invalid_token' | 'use_dpop_nonce';
  readonly reason: string;
}

/** The request that a proof has to be for. */
export interface ProvedRequest {
  readonly method: string;
  /** The public URL; query and fragment do not count. */
  readonly url: string;
  readonly accessToken: string;
  /** `cnf.jkt` of the token. */
  readonly jkt: string;
}

const algorithms = ['ES256', 'EdDSA', 'Ed25519'];
/** Window of `iat`; a proof is remembered for all of it. */
const pastSeconds = 60;
const futureSeconds = 5;
const nonceLifeSeconds = 60;
const maxProofIdBytes = 256;

/** Checks DPoP proofs of one resource server (RFC 9449 4.3), each good for one use. */
export class ProofDesk {
  readonly #seconds: () => number;
  readonly #demandNonce: boolean;
  readonly #spent = new Map<string, number>();
  #nonce: string;
  #nonceBefore: string | undefined;
  #nonceSince: number;

  /** @param seconds Seconds since the epoch, with fractions. */
  constructor(seconds: () => number, demandNonce: boolean) {
    this.#seconds = seconds;
    this.#demandNonce = demandNonce;
    this.#nonce = randomBytes(16).toString('base64url');
    this.#nonceSince = seconds();
  }

  /** The nonce that the next proof has to carry; undefined where none is demanded. The one before it is still taken. */
  currentNonce(): string | undefined {
    if (!this.#demandNonce) return undefined;
    if (this.#seconds() - this.#nonceSince >= nonceLifeSeconds) this.renewNonce();
    return this.#nonce;
  }

  /** Makes a new nonce before its time. */
  renewNonce(): void {
    this.#nonceBefore = this.#nonce;
    this.#nonce = randomBytes(16).toString('base64url');
    this.#nonceSince = this.#seconds();
  }

  /** Undefined when the proof holds, and then it is spent. */
  async check(proof: string, request: ProvedRequest): Promise<ProofRefusal | undefined> {
    const verified = await jwtVerify(proof, EmbeddedJWK, {
      algorithms,
      typ: 'dpop+jwt',
      requiredClaims: ['jti', 'htm', 'htu', 'iat'],
      currentDate: new Date(this.#seconds() * 1000),
    }).catch(() => undefined);
    const jwk = verified?.protectedHeader.jwk;
    if (verified === undefined || jwk === undefined) return invalid('not a signed DPoP proof');
    const { payload } = verified;
    const { jti, iat } = payload;
    if (typeof jti !== 'string' || Buffer.byteLength(jti) > maxProofIdBytes) return invalid('jti is not usable');
    if (payload['htm'] !== request.method) return invalid('htm is another method');
    if (stripped(payload['htu']) !== stripped(request.url)) return invalid('htu is another URL');
    // The nonce before the time: who has an old nonce gets a new one, and with it learns that time is ours to judge.
    const nonce = this.#checkNonce(payload);
    if (nonce !== undefined) return nonce;
    const age = this.#seconds() - (iat ?? 0);
    if (age > pastSeconds || age < -futureSeconds) return invalid('iat is outside the window');
    if (payload['ath'] !== createHash('sha256').update(request.accessToken).digest('base64url')) {
      return invalid('ath is another token');
    }
    const thumbprint = await calculateJwkThumbprint(jwk);
    if (thumbprint !== request.jkt) return { error: 'invalid_token', reason: 'the token is bound to another key' };
    // Spent last and in one step: only a proof that is right may fill the memory, and two equal ones cannot both pass.
    return this.#spend(`${thumbprint} ${jti}`) ? undefined : invalid('the proof was used before');
  }

  #checkNonce(payload: JWTPayload): ProofRefusal | undefined {
    const wanted = this.currentNonce();
    if (wanted === undefined) return undefined;
    const given = payload['nonce'];
    if (given !== undefined && (given === wanted || given === this.#nonceBefore)) return undefined;
    return { error: 'use_dpop_nonce', reason: 'the nonce of this server is needed' };
  }

  #spend(key: string): boolean {
    const now = this.#seconds();
    if ((this.#spent.get(key) ?? 0) > now) return false;
    if (this.#spent.size >= 10_000) for (const [old, until] of this.#spent) if (until <= now) this.#spent.delete(old);
    this.#spent.set(key, now + pastSeconds + futureSeconds);
    return true;
  }
}

/** The URL without query and fragment, after RFC 3986 normalisation; undefined for what is no URL. */
function stripped(url: unknown): string | undefined {
  const parsed = typeof url === 'string' ? URL.parse(url) : null;
  return parsed === null ? undefined : `${parsed.origin}${parsed.pathname}`;
}

function invalid(reason: string): ProofRefusal {
  return { error: 'invalid_dpop_proof', reason };
}
