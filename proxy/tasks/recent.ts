/** Characters that make up one half of a fingerprint: of hex, as of base64url, they hold 32 bits. */
const half = 8;

/**
 * The last so many of things that come and go all the time, by texts that end in 16 random characters or more (handles, ids): when it is
 * full, the oldest is forgotten. It keeps fingerprints of the texts in three plain tables. A `Map` with the texts themselves would be
 * most of what a busy sidecar keeps alive, and the collector of garbage walks over all of that again and again.
 *
 * Two texts with one fingerprint are one to it: by accident with odds below 10^-13 a look, and by intent for whoever knows the other
 * text. So it is good for choosing a reason to refuse, never for letting in.
 */
export class Recent<Value> {
  readonly #max: number;
  /** By place, in the order of a ring: the fingerprint, and the thing itself. */
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  readonly #values: (Value | undefined)[] = [];
  /** First place of each chain, plus one, and the place behind each place: 0 ends a chain. */
  readonly #heads: Int32Array;
  readonly #behind: Int32Array;
  #next = 0;

  /** @param max At least one. */
  constructor(max: number) {
    this.#max = max;
    this.#low = new Int32Array(max);
    this.#high = new Int32Array(max);
    this.#behind = new Int32Array(max);
    this.#heads = new Int32Array(2 ** Math.ceil(Math.log2(max)));
  }

  /** Remembers a thing under a text that was never added before. */
  add(text: string, value: Value): void {
    const place = this.#next;
    if (this.#values[place] !== undefined) this.#forget(place);
    const low = numberOf(text, 0);
    const chain = this.#chainOf(low);
    this.#low[place] = low;
    this.#high[place] = numberOf(text, half);
    this.#behind[place] = this.#heads[chain] ?? 0;
    this.#heads[chain] = place + 1;
    this.#values[place] = value;
    this.#next = (place + 1) % this.#max;
  }

  get(text: string): Value | undefined {
    const low = numberOf(text, 0);
    const high = numberOf(text, half);
    let at = this.#heads[this.#chainOf(low)] ?? 0;
    while (at > 0 && (this.#low[at - 1] !== low || this.#high[at - 1] !== high)) at = this.#behind[at - 1] ?? 0;
    return at > 0 ? this.#values[at - 1] : undefined;
  }

  has(text: string): boolean {
    return this.get(text) !== undefined;
  }

  /** Oldest first. */
  *values(): Generator<Value, undefined> {
    for (let count = 0; count < this.#max; count += 1) {
      const value = this.#values[(this.#next + count) % this.#max];
      if (value !== undefined) yield value;
    }
  }

  /** Takes a place, the oldest of its chain, out of it. */
  #forget(place: number): void {
    const chain = this.#chainOf(this.#low[place] ?? 0);
    let before = this.#heads[chain] ?? 0;
    while (before > 0 && this.#behind[before - 1] !== place + 1) before = this.#behind[before - 1] ?? 0;
    if (before > 0) this.#behind[before - 1] = 0;
    else this.#heads[chain] = 0;
  }

  #chainOf(low: number): number {
    return low & (this.#heads.length - 1);
  }
}

/** Of the characters that are so many before the end. */
function numberOf(text: string, beforeEnd: number): number {
  const end = Math.max(0, text.length - beforeEnd);
  let number = text.length;
  for (let at = Math.max(0, end - half); at < end; at += 1) number = (Math.imul(number, 31) + text.charCodeAt(at)) | 0;
  return number;
}
