import type { EventLine } from './event-line.ts';

/** What is wrong with the place of a line among the boots of the record. */
export interface OrderFault {
  readonly reason: 'missing' | 'order';
  readonly message: string;
}

/** Where two sidecars begin at once on one file, lines of the one come between what the other saw and its boot event. */
const recentLines = 1024;

/**
 * Follows which line each boot was written behind: the `boot` event names it, so that no boot can be taken out of a record or put
 * elsewhere. What the first line of all was written behind is in an earlier file.
 */
export class BootOrder {
  /** Digests of the newest lines. */
  readonly #recent = new Set<string>();
  #hasBegun = false;
  /** What the first line was written behind. */
  #origin: unknown;

  /** Takes the next line that has its line feed. @param line undefined where it is no event. */
  take(line: EventLine | undefined, digest: string): OrderFault | undefined {
    const fault = this.#judge(line, digest);
    this.#recent.add(digest);
    for (const oldest of this.#recent) {
      if (this.#recent.size <= recentLines) break;
      this.#recent.delete(oldest);
    }
    this.#hasBegun ||= line !== undefined;
    return fault;
  }

  #judge(line: EventLine | undefined, digest: string): OrderFault | undefined {
    const follows = line?.event === 'boot' ? line.members['follows'] : undefined;
    if (digest === this.#origin)
      return { reason: 'order', message: 'the record begins with a boot that was written behind this line' };
    if (follows === undefined) return undefined;
    if (!this.#hasBegun) this.#origin = follows;
    else if (typeof follows !== 'string' || !this.#recent.has(follows)) {
      const message =
        'the line that this boot was written behind is not here: lines, or a whole boot, were removed or moved';
      return { reason: 'missing', message };
    }
    return undefined;
  }
}
