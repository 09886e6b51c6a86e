import type { World } from '../world.ts';

/** How long a fetched document is good, and what happens when it cannot be fetched again. Milliseconds. */
export interface Keeping {
  /** Fetched again when older. */
  readonly ttlMs: number;
  /** While fetching fails, the last good one is used until this age. */
  readonly keepMs: number;
  /** After a failed fetch nothing is asked for this long; after each further one twice as long, up to four times as long. */
  readonly retryMs: number;
  /** Out of turn (an unknown key), at most one fetch in this time: else anybody's bad token is a request to the issuer. */
  readonly renewMs: number;
}

const maxDoublings = 2;

/** One remote document: fetched once for all who wait, kept for its time, and never replaced by nothing. */
export class KeptDocument<T> {
  readonly #world: World;
  readonly #keeping: Keeping;
  readonly #load: (timeoutMs: number) => Promise<T>;
  #good: { readonly value: T; readonly loadedAtMs: number } | undefined;
  #failure: { readonly cause: unknown; readonly untilMs: number } | undefined;
  #flight: Promise<T> | undefined;
  readonly #late: () => Error;
  #failures = 0;
  #renewedAtMs = -Infinity;

  /** @param late what a reader is told whose time is over before the fetch that it waits for. */
  constructor(world: World, keeping: Keeping, load: (timeoutMs: number) => Promise<T>, late: () => Error) {
    this.#world = world;
    this.#keeping = keeping;
    this.#load = load;
    this.#late = late;
  }

  /** The last good document, of any age. */
  peek(): T | undefined {
    return this.#good?.value;
  }

  /** The document. Rejects with what `load` rejected with when there is no usable one. */
  async read(timeoutMs: number): Promise<T> {
    const now = this.#world.now();
    if (this.#good !== undefined && now < this.#good.loadedAtMs + this.#keeping.ttlMs) return this.#good.value;
    if (this.#failure !== undefined && now < this.#failure.untilMs) return this.#lastGoodOr(this.#failure.cause);
    return this.#fetch(timeoutMs);
  }

  /** A newer document than the one held, if it is time to ask for one; else the one held. */
  async renew(timeoutMs: number): Promise<T> {
    const now = this.#world.now();
    // From the last renewal and not from the last fetch: a key that is new now is not in what was fetched a second ago.
    const tooSoon = now < this.#renewedAtMs + this.#keeping.renewMs;
    if (tooSoon || (this.#failure !== undefined && now < this.#failure.untilMs)) return this.read(timeoutMs);
    this.#renewedAtMs = now;
    return this.#fetch(timeoutMs);
  }

  /** Whoever comes while a fetch is under way waits for that one, and has its result; but no longer than his own time. */
  async #fetch(timeoutMs: number): Promise<T> {
    if (this.#flight === undefined) {
      this.#flight = this.#run(timeoutMs).finally(() => {
        this.#flight = undefined;
      });
      return this.#flight;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    try {
      return await Promise.race([this.#flight, promise.then(() => this.#lastGoodOr(this.#late()))]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #run(timeoutMs: number): Promise<T> {
    try {
      const value = await this.#load(timeoutMs);
      this.#good = { value, loadedAtMs: this.#world.now() };
      this.#failure = undefined;
      this.#failures = 0;
      return value;
    } catch (cause) {
      const pauseMs = this.#keeping.retryMs * 2 ** Math.min(this.#failures++, maxDoublings);
      this.#failure = { cause, untilMs: this.#world.now() + pauseMs };
      return this.#lastGoodOr(cause);
    }
  }

  /** Old keys for a while rather than none: else an issuer's short outage stops every task, and is an attacker's lever. */
  #lastGoodOr(cause: unknown): T {
    if (this.#good !== undefined && this.#world.now() < this.#good.loadedAtMs + this.#keeping.keepMs) {
      return this.#good.value;
    }
    throw cause;
  }
}
