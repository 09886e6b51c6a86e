import type { World } from '../world.ts';
import { EndpointFault } from './endpoint.ts';

/** What is left for the rest of the call, so that its answer too is there within the time that was configured. */
const ownPart = 0.9;

/** The time that one exchange has for all its steps together: a service that is slow in each of them must not add them up. */
export class Deadline {
  readonly #world: World;
  readonly #endMs: number;

  /** The clock starts now. Monotonic, so that a clock that is set meanwhile neither ends nor extends it. */
  constructor(world: World, budgetMs: number) {
    this.#world = world;
    this.#endMs = world.monotonic() + budgetMs * ownPart;
  }

  /** Whether something may begin in so many milliseconds. */
  allows(pauseMs: number): boolean {
    return this.#endMs - this.#world.monotonic() > pauseMs;
  }

  /** Whole milliseconds left, at least 1. Throws `EndpointFault('timeout')` when the time is over. */
  leftMs(): number {
    const left = this.#endMs - this.#world.monotonic();
    if (left <= 0) throw new EndpointFault('timeout');
    return Math.ceil(left);
  }
}

/** Waits for work, but not longer than `ms`. */
export async function withinTime(work: Promise<unknown>, ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([work, promise]);
  clearTimeout(timer);
}
