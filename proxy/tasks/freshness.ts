/**
 * Until when what is known here counts as all that was revoked. For one sidecar alone that is for ever; in a fleet the store has to say
 * again and again that there is nothing else. A clock is compared and no timer waited for: a process that was stopped for a while
 * must not serve on what it knew before.
 */
export class Freshness {
  readonly #monotonic: () => number;
  #untilMs: number;

  /** @param untilMs monotonic milliseconds: `always`, or `notYet` where a store is to be asked first. */
  constructor(monotonic: () => number, untilMs: number) {
    this.#monotonic = monotonic;
    this.#untilMs = untilMs;
  }

  get isFresh(): boolean {
    return this.#untilMs === always || this.#monotonic() < this.#untilMs;
  }

  /** Never shortens it. */
  prolong(untilMs: number): void {
    if (untilMs > this.#untilMs) this.#untilMs = untilMs;
  }
}

export const always = Infinity;
export const notYet = -Infinity;
