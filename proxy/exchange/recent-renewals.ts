const renewOnceInMs = 30_000;

/**
 * Which orders were renewed lately: a tool that calls every token expired must not turn each call into an exchange. By a clock that nobody
 * sets: a step back would deny renewals for as long as the step.
 */
export class RecentRenewals {
  /** In the order of time, so that the front holds what no longer matters. */
  readonly #atMs = new Map<string, number>();

  /** Whether an order may be renewed: its last time was 30 s ago. */
  mayRenew(key: string, nowMs: number): boolean {
    const atMs = this.#atMs.get(key);
    return atMs === undefined || nowMs >= atMs + renewOnceInMs;
  }

  note(key: string, nowMs: number): void {
    this.#atMs.delete(key);
    this.#atMs.set(key, nowMs);
    for (const [oldKey, atMs] of this.#atMs) {
      if (nowMs < atMs + renewOnceInMs) break;
      this.#atMs.delete(oldKey);
    }
  }
}
