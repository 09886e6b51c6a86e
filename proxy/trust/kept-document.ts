import type { World } from '../world.ts';

/** How long a fetched document is good, and what happens when it cannot be fetched again. Milliseconds. */
export interface Keeping {
  /** Fetched again when older. */
  readonly ttlMs: number;
  /** While fetching fails, the last good one is used until this age. */
  readonly keepMs: number;
  /** The part of his time that a reader waits for a newer one where an old one may be used. */
  readonly freshPart: number;
  /** After a failed fetch nothing is asked for this long; after each further one twice as long, up to four times as long. */
  readonly retryMs: number;
  /** Out of turn (an unknown key), at most one fetch in this time: else anybody's bad token is a request to the issuer. */
  readonly renewMs: number;
}

const maxDoublings = 2;
/** What a fetch gets at least, milliseconds: others who have more time than whoever began it wait for it too. */
const fetchMs = 2000;

/** One remote document: fetched once for all who wait, kept for its time, and never replaced by nothing. */
export class KeptDocument<T> {
  readonly #world: World;
  readonly #keeping: Keeping;
  readonly #load: (timeoutMs: number) => Promise<T>;
  #good: { readonly value: T; readonly loadedAtMs: number } | undefined;
  #failure: { readonly cause: unknown; readonly atMs: number; readonly pauseMs: number } | undefined;
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

  /**
   * The document. Where an old one may still be used, a newer one is waited for in part of the time only, since the rest is
   * needed for what the document is for; its fetch goes on. Rejects with what `load` rejected with when there is no usable one.
   */
  async read(timeoutMs: number): Promise<T> {
    const { ttlMs, keepMs, freshPart } = this.#keeping;
    const held = this.#good;
    if (held !== undefined && this.#isWithin(held.loadedAtMs, ttlMs)) return held.value;
    if (held === undefined || !this.#isWithin(held.loadedAtMs, keepMs)) return this.#fetch(timeoutMs);
    try {
      return await this.#fetch(timeoutMs, timeoutMs * freshPart);
    } catch {
      // Old keys for a while rather than none: else an issuer's short outage stops every task, and is an attacker's lever.
      return held.value;
    }
  }

  /**
   * A newer document than the one held, if it is time to ask for one; else the one held. Rejects when the newer one cannot be had: what
   * is not in an old document may well be in that one.
   */
  async renew(timeoutMs: number): Promise<T> {
    // Whoever comes while one is on its way waits for it, or only the first of a crowd would learn of a key that is new. A fetch that
    // failed was no renewal.
    if (this.#flight === undefined && this.#failure === undefined) {
      // From the last renewal and not from the last fetch: a key that is new now is not in what was fetched a second ago.
      if (this.#isWithin(this.#renewedAtMs, this.#keeping.renewMs)) return this.read(timeoutMs);
      this.#renewedAtMs = this.#world.now();
    }
    return this.#fetch(timeoutMs);
  }

  /** Whoever comes while a fetch is under way waits for that one, and has its result; but no longer than his own time. */
  async #fetch(timeoutMs: number, waitMs = timeoutMs): Promise<T> {
    if (this.#flight === undefined) {
      if (this.#failure !== undefined && this.#isWithin(this.#failure.atMs, this.#failure.pauseMs))
        throw this.#failure.cause;
      this.#flight = this.#run(Math.max(timeoutMs, fetchMs)).finally(() => {
        this.#flight = undefined;
      });
    }
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(this.#late()), waitMs);
    try {
      // The race hears of a fetch that fails later too: one that nobody waits for any more is no unhandled rejection.
      return await Promise.race([this.#flight, promise]);
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
      this.#failure = { cause, atMs: this.#world.now(), pauseMs };
      throw cause;
    }
  }

  /** Whether a moment is less than a time away. In either direction: a clock that was set back must make nothing young for hours. */
  #isWithin(atMs: number, ms: number): boolean {
    return Math.abs(this.#world.now() - atMs) < ms;
  }
}
