import { Refusal } from '../refusal.ts';

/** How long a refusal is repeated without asking again: what may pass by itself briefly, what will not a little longer. */
const transientMs = 1000;
const lastingMs = 5000;
const maxRefusals = 10_000;

/**
 * The last refusals by order: a service that is down, or says no, is not asked once per call of a busy agent. By a clock that nobody sets:
 * a step back would repeat a refusal for as long as the step.
 */
export class RecentRefusals {
  readonly #byKey = new Map<string, { readonly refusal: Refusal; readonly untilMs: number }>();

  /** Remembers a refusal for its time. */
  add(key: string, refusal: Refusal, nowMs: number): void {
    // Deleted first, so that the order of the map is the order of time and the front is the oldest.
    this.#byKey.delete(key);
    this.#byKey.set(key, { refusal, untilMs: nowMs + (refusal.kind.retryable ? transientMs : lastingMs) });
    if (this.#byKey.size <= maxRefusals) return;
    const [oldest] = this.#byKey.keys();
    if (oldest !== undefined) this.#byKey.delete(oldest);
  }

  /** The refusal to repeat, or undefined when it is time to ask again. */
  find(key: string, nowMs: number): Refusal | undefined {
    const recent = this.#byKey.get(key);
    if (recent === undefined) return undefined;
    if (nowMs < recent.untilMs) return recent.refusal;
    this.#byKey.delete(key);
    return undefined;
  }
}
