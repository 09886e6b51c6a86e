/** How many may be told at once, and after how long one more, milliseconds. */
const most = 10;
const refillMs = 10_000;

/**
 * Says which of many events alike are told one by one: the first ten, and then one every ten seconds, which says how many were left
 * out before it. Whoever reaches a port can open connections without end, and must not fill the record with them.
 */
export class FewEvents {
  readonly #monotonic: () => number;
  #left = most;
  #filledAt: number;
  #suppressed = 0;

  /** @param monotonic milliseconds. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
    this.#filledAt = monotonic();
  }

  /** How many were left out since the last that was told, where one is told now; undefined where it is left out as well. */
  next(): number | undefined {
    const gained = Math.floor((this.#monotonic() - this.#filledAt) / refillMs);
    this.#filledAt += gained * refillMs;
    this.#left = Math.min(most, this.#left + gained);
    if (this.#left === 0) {
      this.#suppressed += 1;
      return undefined;
    }
    this.#left -= 1;
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    return suppressed;
  }
}
