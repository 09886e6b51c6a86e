import { createHmac, timingSafeEqual } from 'node:crypto';

/** A nonce is handed out for this long, and taken for as long again. */
const slotMs = 60_000;
const nonceForm = /^(0|[1-9a-z][0-9a-z]{0,9})\.[A-Za-z0-9_-]{22}$/;

/** `old`: ours, and no longer good. `foreign`: of another process, before a restart or of another replica, or made up. */
export type NonceVerdict = 'good' | 'old' | 'missing' | 'foreign';

/**
 * DPoP nonces of this server (RFC 9449 9): the number of a slot of time and its HMAC-SHA-256. Nothing is kept, so nothing can be filled;
 * and as the key is of one process, a proof that was spent before a restart or at another replica carries a nonce that is not ours.
 */
export class ServerNonces {
  readonly #key: Buffer;
  #slot = -1;
  #current = '';
  #currentBytes = Buffer.alloc(0);
  #beforeBytes = Buffer.alloc(0);

  /** @param key 32 random bytes of this process, or, with a shared ledger, of all replicas. */
  constructor(key: Buffer) {
    if (key.length < 32) throw new Error('a key of nonces has 32 bytes');
    this.#key = key;
  }

  /** The nonce for `DPoP-Nonce`. It is the same text for a minute. */
  current(nowMs: number): string {
    this.#turn(nowMs);
    return this.#current;
  }

  /** Whether the nonce of a proof is the current one or the one before. */
  judge(nonce: string | undefined, nowMs: number): NonceVerdict {
    if (nonce === undefined) return 'missing';
    this.#turn(nowMs);
    const bytes = Buffer.from(nonce);
    if (isEqual(bytes, this.#currentBytes) || isEqual(bytes, this.#beforeBytes)) return 'good';
    const slot = nonceForm.exec(nonce)?.[1];
    if (slot === undefined) return 'foreign';
    return isEqual(bytes, Buffer.from(this.#make(parseInt(slot, 36)))) ? 'old' : 'foreign';
  }

  #turn(nowMs: number): void {
    const slot = Math.floor(nowMs / slotMs);
    if (slot === this.#slot) return;
    this.#slot = slot;
    this.#current = this.#make(slot);
    this.#currentBytes = Buffer.from(this.#current);
    this.#beforeBytes = Buffer.from(this.#make(slot - 1));
  }

  /** 128 bits of the code are kept: a nonce stands in every proof, and none can be guessed within its two minutes. */
  #make(slot: number): string {
    const code = createHmac('sha256', this.#key).update(`dpop-nonce ${slot}`).digest().subarray(0, 16);
    return `${slot.toString(36)}.${code.toString('base64url')}`;
  }
}

/** In constant time for texts of one length: the code is a secret until it is handed out. */
function isEqual(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
