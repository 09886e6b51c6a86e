import type { World } from '../world.ts';

/** How late a thing may be dealt with, milliseconds: those of one moment are dealt with together. */
const grainMs = 20;
/** Places of things that are gone, up to which a line is not made shorter. */
const maxGone = 4096;

/**
 * Things that all wait for the same time, in the order in which they came, with one timer for all. A timer for each, with its closure,
 * is several times the size of what waits, and all of it lives long enough to be copied by every collection of garbage.
 */
export class WaitingLine<Thing> {
  readonly #waitMs: number;
  readonly #monotonic: World['monotonic'];
  readonly #onDue: (thing: Thing) => void;
  readonly #things: (Thing | undefined)[] = [];
  readonly #since: number[] = [];
  /** Where the line begins: what is before was dealt with. */
  #head = 0;
  /** How many came before those that are still in the two lists. */
  #gone = 0;
  #isArmed = false;

  constructor(waitMs: number, monotonic: World['monotonic'], onDue: (thing: Thing) => void) {
    this.#waitMs = waitMs;
    this.#monotonic = monotonic;
    this.#onDue = onDue;
  }

  /** Returns its number, by which it can leave the line. */
  add(thing: Thing): number {
    this.#things.push(thing);
    this.#since.push(this.#monotonic());
    if (!this.#isArmed) this.#arm(this.#waitMs);
    return this.#gone + this.#things.length - 1;
  }

  /** A thing that is over is not kept alive until it would be due. */
  leave(number: number): void {
    const at = number - this.#gone;
    if (at >= this.#head) this.#things[at] = undefined;
  }

  #arm(inMs: number): void {
    this.#isArmed = true;
    setTimeout(() => this.#deal(), Math.max(inMs, grainMs)).unref();
  }

  #deal(): void {
    const dueSince = this.#monotonic() - this.#waitMs;
    for (
      let since = this.#since[this.#head];
      since !== undefined && since <= dueSince;
      since = this.#since[this.#head]
    ) {
      const thing = this.#things[this.#head];
      this.#things[this.#head] = undefined;
      this.#head += 1;
      if (thing !== undefined) this.#onDue(thing);
    }
    if (this.#head === this.#things.length || this.#head > maxGone) {
      this.#things.splice(0, this.#head);
      this.#since.splice(0, this.#head);
      this.#gone += this.#head;
      this.#head = 0;
    }
    this.#isArmed = false;
    const [next] = this.#since.slice(this.#head, this.#head + 1);
    if (next !== undefined) this.#arm(next - dueSince);
  }
}
