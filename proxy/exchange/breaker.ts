import type { World } from '../world.ts';

/** What a visit to a service told of its health. `nothing`: it was not asked, or what went wrong was ours. */
export type Health = 'well' | 'unwell' | 'nothing';

/** One use of a service that the breaker let through. */
export interface Passage {
  /** The only one while the breaker is open: what it finds decides for all. */
  readonly isProbe: boolean;
}

/** It opens after this many failures in a row, */
const maxInARow = 5;
/** or when more than half of this many visits failed. */
const maxRecent = 20;
/** The first pause; each probe that fails doubles it. Milliseconds. */
const firstPauseMs = 1000;
/** A probe costs the service one request, so a service that is back is found soon. */
const maxPauseMs = 8000;

/**
 * The circuit breaker of one service. Closed, everybody passes. Open, nobody does: a service that is down costs calls no time, and one
 * that struggles gets none. When the pause is over, one probe passes; it closes the breaker, or begins the next, longer pause.
 */
export class Breaker {
  readonly #world: World;
  /** The last visits, oldest first; true where the service failed. */
  readonly #recent: boolean[] = [];
  #inARow = 0;
  /** End of the pause on the monotonic clock: a clock that is set must not hold it open. Undefined while closed. */
  #pausedUntilMs: number | undefined;
  #pauses = 0;
  #isProbing = false;

  constructor(world: World) {
    this.#world = world;
  }

  get isOpen(): boolean {
    return this.#pausedUntilMs !== undefined;
  }

  /** Milliseconds of the pause that are left; 0 while closed, or when it is time for a probe. */
  leftMs(): number {
    return Math.max(0, (this.#pausedUntilMs ?? 0) - this.#world.monotonic());
  }

  /** Lets a visit through, or returns undefined. Whoever passes has to say how it went, whatever happens. */
  pass(): Passage | undefined {
    if (!this.isOpen) return { isProbe: false };
    if (this.#isProbing || this.leftMs() > 0) return undefined;
    this.#isProbing = true;
    return { isProbe: true };
  }

  /** How a visit went. */
  tell({ isProbe }: Passage, health: Health): void {
    if (isProbe) {
      this.#isProbing = false;
      if (health === 'well') this.#close();
      if (health === 'unwell') this.#open();
      return;
    }
    // A visit from before it opened says nothing that is not known.
    if (health !== 'nothing' && !this.isOpen) this.#note(health === 'unwell');
  }

  #note(failed: boolean): void {
    this.#inARow = failed ? this.#inARow + 1 : 0;
    this.#recent.push(failed);
    if (this.#recent.length > maxRecent) this.#recent.shift();
    const failures = this.#recent.filter((one) => one).length;
    if (this.#inARow >= maxInARow || failures > maxRecent / 2) this.#open();
  }

  #open(): void {
    const pauseMs = Math.min(firstPauseMs * 2 ** this.#pauses, maxPauseMs);
    this.#pauses = Math.min(this.#pauses + 1, 30);
    // Spread over half of it, or all sidecars of a cluster come back to a service at the same moment.
    const spread = 0.75 + this.#world.random(2).readUInt16BE() / 2 ** 17;
    this.#pausedUntilMs = this.#world.monotonic() + pauseMs * spread;
  }

  #close(): void {
    this.#pausedUntilMs = undefined;
    this.#pauses = 0;
    this.#inARow = 0;
    this.#recent.length = 0;
  }
}
