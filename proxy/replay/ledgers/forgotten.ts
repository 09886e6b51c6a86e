/** A look at the clock so many seconds after the one before is a jump, or a long silence: what ended between them is known one by one. */
const jumpSeconds = 60;
/** Of more, the oldest are not vouched for. */
const maxGaps = 8;

/** Seconds of the clock, the first excluded, in which no entry ended that was forgotten. */
interface Gap {
  readonly after: number;
  readonly upTo: number;
}

/**
 * When the entries ended that a ledger has forgotten. As long as the clock goes on, that is all the time up to now. A clock that was far
 * ahead and was set back leaves a gap between what ended before and what ended while it was ahead: what ends in there was never held,
 * so it can be vouched for, and calls go on without a proof being taken twice.
 */
export class Forgotten {
  #highest = 0;
  #gaps: readonly Gap[] = [];

  /** The clock went on. @param newest end of the last entry that was forgotten by it; at least `from`. */
  pass(from: number, to: number, newest: number): void {
    if (to <= this.#highest && this.#gaps.length === 0) return;
    const end = to - from > jumpSeconds ? newest : to;
    const left = this.#gaps.map((gap) => (gap.upTo > from ? { ...gap, after: Math.max(gap.after, end) } : gap));
    if (to > this.#highest) left.push({ after: Math.max(end, this.#highest), upTo: to });
    this.#highest = Math.max(this.#highest, to);
    this.#gaps = left.filter(({ after, upTo }) => after < upTo).slice(-maxGaps);
  }

  /** Whether an entry that ended in one of these seconds may have been forgotten. */
  mayHold(first: number, last: number): boolean {
    return first <= this.#highest && !this.#gaps.some(({ after, upTo }) => first > after && last <= upTo);
  }
}
