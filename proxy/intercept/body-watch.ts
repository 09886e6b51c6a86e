import { Refusal } from '../refusal.ts';

/** Port: what must not leave in the body of a call. */
export interface BodyWatch {
  /** Whether a whole body holds something of it, also under a coding. */
  isIn(body: Buffer): boolean;
  /** Whether these bytes hold something of it. */
  holds(bytes: Buffer): boolean;
  /** How many bytes at the end could be the beginning of it, at most `span`. */
  tail(bytes: Buffer): number;
  /** Bytes of its longest spelling: so many are looked at again across the border of two chunks. */
  readonly span: number;
  /** What counts as standing before the body, for a secret that has to be told from the end of another word. */
  readonly before: Buffer;
  /** Says what was found. */
  refusal(): Refusal;
}

const nothing = Buffer.alloc(0);

/** For bodies that may hold whatever they like: those of callers of the way in. */
export const unwatched: BodyWatch = {
  isIn: () => false,
  holds: () => false,
  tail: () => 0,
  span: 0,
  before: nothing,
  refusal: () => new Refusal('internal_fault'),
};

/**
 * Watches a body that streams. A chunk passes at once; only an end of it that could be the beginning of a secret waits for what follows,
 * so that nothing of the secret is gone when it is recognised.
 */
export class WatchedStream {
  readonly #watch: BodyWatch;
  /** The last bytes that came, whether they went on or not. */
  #recent: Buffer;
  /** What of them did not go on. */
  #held: Buffer = nothing;

  constructor(watch: BodyWatch) {
    this.#watch = watch;
    this.#recent = watch.before;
  }

  /** What may go on now of this chunk and of what was held before, in order; undefined where something was found. */
  push(chunk: Buffer): readonly Buffer[] | undefined {
    const { span } = this.#watch;
    if (span === 0) return [chunk];
    const border = Buffer.concat([this.#recent, chunk.subarray(0, span)]);
    if (this.#watch.holds(border) || (chunk.length > span && this.#watch.holds(chunk))) return undefined;
    this.#recent = Buffer.from((chunk.length < span ? border : chunk).subarray(-span));
    const waiting = Buffer.concat([this.#held, chunk.subarray(-span)]);
    const hold = Math.min(this.#watch.tail(this.#recent), waiting.length);
    if (hold > 0 || this.#held.length > 0) return this.#keep(chunk, hold);
    return [chunk];
  }

  /** Says what was found. */
  refusal(): Refusal {
    return this.#watch.refusal();
  }

  /** What was held back, when nothing follows. */
  end(): Buffer {
    return this.#held;
  }

  #keep(chunk: Buffer, hold: number): readonly Buffer[] {
    const before = this.#held;
    if (hold > chunk.length) {
      const all = Buffer.concat([before, chunk]);
      this.#held = all.subarray(all.length - hold);
      return [all.subarray(0, all.length - hold)];
    }
    this.#held = Buffer.from(chunk.subarray(chunk.length - hold));
    return [before, chunk.subarray(0, chunk.length - hold)];
  }
}
