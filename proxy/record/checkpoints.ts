import {
  ProcessKey,
  signCheckpoint,
  type ChainHead,
  type CheckpointCause,
  type CheckpointIdentity,
} from './checkpoint.ts';

/** Port: the record, which puts the checkpoint right behind the line that it is about. */
export interface CheckpointedLog {
  checkpoint(make: (head: ChainHead) => string): void;
}

/** How often the record is signed, milliseconds. */
export const checkpointEveryMs = 60_000;

/**
 * Signs the chain of events, again and again and at the end: who changes the record afterwards can make a new chain, but no new
 * signatures. With the SVID, whose authority is known elsewhere; without one with a key that the boot event names.
 */
export class Checkpoints {
  readonly #log: CheckpointedLog;
  #identity: () => CheckpointIdentity | undefined;
  readonly #key = new ProcessKey();
  readonly #timer: NodeJS.Timeout;

  /** @param identity the X.509-SVID of the moment. */
  constructor(log: CheckpointedLog, identity: () => CheckpointIdentity | undefined, everyMs: number) {
    this.#log = log;
    this.#identity = identity;
    this.#timer = setInterval(() => this.#write('interval'), everyMs).unref();
  }

  /** The key that signs while there is no identity, as the boot event names it. */
  get key(): object {
    return this.#key.jwk;
  }

  /** The first one, before anything is let through: a boot that did something and has none was made by somebody else. */
  start(): void {
    this.#write('start');
  }

  /** The sidecar stops: whatever closes before the record, it is still signed by who we are now. */
  hold(): void {
    const last = this.#identity();
    this.#identity = () => last;
  }

  /** The last one: what comes behind it was written by nobody of us. */
  close(): void {
    clearInterval(this.#timer);
    this.#write('exit');
  }

  #write(cause: CheckpointCause): void {
    const identity = this.#identity();
    this.#log.checkpoint((head) => {
      if (identity === undefined) return this.#key.sign(head, cause);
      try {
        return signCheckpoint(head, cause, identity);
      } catch {
        // A key of a kind that we cannot sign with is no reason to sign nothing.
        return this.#key.sign(head, cause);
      }
    });
  }
}
