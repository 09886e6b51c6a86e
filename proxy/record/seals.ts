import type { KeyObject } from 'node:crypto';
import { checkX509Path, InvalidSvidPath, type X509Bundle } from '../spiffe/x509-path.ts';
import { isCheckpointOf, readCheckpoint, readLeaf, readProcessKey, type Checkpoint } from './checkpoint.ts';
import type { EventLine } from './event-line.ts';

/** What whoever verifies a record knows from elsewhere. */
export interface Trust {
  /** Authorities of the trust domain: then only checkpoints of an SVID that they vouch for count. */
  readonly bundle: X509Bundle | undefined;
  /** The SPIFFE ID that has to have signed; looked at only with a bundle. */
  readonly spiffeId: string | undefined;
}

/** Who signed, or why nobody who counts did. */
type Signer = { readonly name: string } | { readonly fault: string };

/** How far a boot's chain is signed. */
export interface Seal {
  /** Sequence of the last line that a good checkpoint covers; 0: none. */
  readonly sequence: number;
  /** Who signed the last good one: a SPIFFE ID, `key` for the key of the process, or undefined. */
  readonly signer: string | undefined;
  /** Whether its last line is the checkpoint of an end in order. */
  readonly isClosed: boolean;
  /** What is wrong with the boot as a whole. */
  readonly fault: string | undefined;
}

/** A sidecar signs every minute; this long without is no accident. */
const maxUnsignedMs = 150_000;
/** Of a pause between two lines this much counts: a machine may have slept. */
const maxPauseMs = 60_000;

/** Follows the signatures of one boot. */
export class Seals {
  readonly #trust: Trust;
  readonly #processKey: KeyObject | undefined;
  #sequence = 0;
  #signer: string | undefined;
  #isClosed = false;
  #hasEnded = false;
  readonly #namesKey: boolean;
  #checkpoints = 0;
  /** Lines that say that something was let through, issued or revoked. */
  #deeds = 0;
  #lastAtMs = Number.NaN;
  /** Behind the last good checkpoint, which covers all before it: a record that was full is signed late. */
  #unsignedMs = 0;

  /** @param first line of the boot. */
  constructor(first: EventLine, trust: Trust) {
    this.#trust = trust;
    this.#processKey = readProcessKey(first.members['key']);
    this.#namesKey = first.members['key'] !== undefined;
  }

  /** Takes the next line. Returns what is wrong with a checkpoint; undefined for a good one and for other lines. */
  take(line: EventLine): string | undefined {
    const atMs = Date.parse(String(line.members['at']));
    const pauseMs = atMs - this.#lastAtMs;
    this.#lastAtMs = atMs;
    if (pauseMs > 0) this.#unsignedMs += Math.min(pauseMs, maxPauseMs);
    this.#isClosed = false;
    if (/^(?:call|token|principal)\./.test(line.event)) this.#deeds += 1;
    if (line.event !== 'checkpoint') return undefined;
    this.#checkpoints += 1;
    return this.#check(line, atMs);
  }

  /** Whether a checkpoint that is signed told the end of the boot. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  finish(): Seal {
    return {
      sequence: this.#sequence,
      signer: this.#signer,
      isClosed: this.#isClosed,
      fault: this.#faultOfAll(),
    };
  }

  #check(line: EventLine, atMs: number): string | undefined {
    const checkpoint = readCheckpoint(line.boot, line.members);
    if (checkpoint === undefined) return 'a checkpoint that no sidecar wrote';
    if (checkpoint.head.sequence !== line.seq - 1 || checkpoint.head.digest !== line.prev)
      return 'the checkpoint is about another chain: lines before it were changed and the chain was made anew';
    const signer = this.#signerOf(checkpoint, atMs);
    if ('fault' in signer) return signer.fault;
    // Whichever of its keys said so: the sidecar wrote nothing behind it.
    this.#hasEnded ||= checkpoint.cause === 'exit';
    // A bundle says that only identities count; the next one of an identity covers this one too.
    if (signer.name === 'key' && this.#isStrict) return undefined;
    this.#sequence = line.seq;
    this.#signer = signer.name;
    this.#isClosed = checkpoint.cause === 'exit';
    this.#unsignedMs = 0;
    return undefined;
  }

  get #isStrict(): boolean {
    return this.#trust.bundle !== undefined;
  }

  #signerOf(checkpoint: Checkpoint, atMs: number): Signer {
    const [leaf] = checkpoint.x5c;
    const { bundle, spiffeId } = this.#trust;
    const forged = { fault: 'the signature of the checkpoint is not of the key that it names' };
    if (leaf === undefined) {
      if (this.#processKey === undefined) return { fault: 'the key of the checkpoint is not named by the boot event' };
      return isCheckpointOf(checkpoint, this.#processKey) ? { name: 'key' } : forged;
    }
    const claimed = readLeaf(leaf);
    if (claimed === undefined || !isCheckpointOf(checkpoint, claimed.key)) return forged;
    // Without a bundle the certificate vouches for itself alone.
    return bundle === undefined
      ? { name: claimed.spiffeId ?? 'an SVID' }
      : signerWithin(bundle, spiffeId, checkpoint.x5c, atMs);
  }

  #faultOfAll(): string | undefined {
    // A sidecar signs before it lets anything through, so only one that did nothing may have nothing.
    if (this.#deeds > 0 && this.#isStrict && this.#sequence === 0)
      return 'no checkpoint of this boot is signed by an identity that counts';
    if (this.#deeds > 0 && this.#namesKey && this.#checkpoints === 0) return 'its checkpoints were removed';
    if (this.#unsignedMs <= maxUnsignedMs) return undefined;
    return `${Math.floor(this.#unsignedMs / 60_000)} minutes at its end without a checkpoint that counts: they were removed, or never signed`;
  }
}

/** @param atMs when it was signed: an SVID is long over when its record is verified. */
function signerWithin(bundle: X509Bundle, wanted: string | undefined, x5c: readonly Buffer[], atMs: number): Signer {
  try {
    const { spiffeId } = checkX509Path(x5c, () => bundle, atMs);
    if (wanted === undefined || spiffeId === wanted) return { name: spiffeId };
    return { fault: `the checkpoint is signed by ${spiffeId}` };
  } catch (error) {
    if (!(error instanceof InvalidSvidPath)) throw error;
    return { fault: `the SVID of the checkpoint is not vouched for (${error.reason})` };
  }
}
