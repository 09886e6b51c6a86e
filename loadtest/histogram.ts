const bucketMs = 0.01;
const buckets = 200_000;

/** Latencies in buckets of 10 us up to 2 s; longer ones count as 2 s. */
export class Histogram {
  readonly #counts = new Uint32Array(buckets);
  #total = 0;

  add(ms: number): void {
    const bucket = Math.min(buckets - 1, Math.floor(ms / bucketMs));
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#total += 1;
  }

  /** Milliseconds that the share `share` (0 to 1) of all values does not exceed; 0 when there is none. */
  percentile(share: number): number {
    const wanted = Math.ceil(this.#total * share);
    let seen = 0;
    for (let bucket = 0; bucket < buckets && this.#total > 0; bucket += 1) {
      seen += this.#counts[bucket] ?? 0;
      if (seen >= wanted) return (bucket + 1) * bucketMs;
    }
    return 0;
  }
}

/** The middle value; of an even count the mean of the two in the middle. NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  const lower = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  return (lower + upper) / 2;
}
