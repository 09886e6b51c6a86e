import { hash } from 'node:crypto';
import type { World } from '../world.ts';

const maxKnown = 1024;
const width = 2048;
const cells = 2 * width;
/** Parts of the horizon that expire one after the other; one more than the horizon needs, as it never begins with a part. */
const parts = 9;

/**
 * How much of the ledger each presenter holds, in a fixed 164 KB however many there are: a count-min sketch. A presenter is counted in
 * two cells that a secret key chooses, and its share is the smaller of the two. So it is never counted too low, and too high only by
 * what happens to share both cells: on average less than a 2048th of all entries.
 */
export class PresenterShares {
  readonly #key: string;
  readonly #perPresenter: number;
  readonly #partMs: number;
  /** Entries in each cell, of all parts together. */
  readonly #totals = new Uint32Array(cells);
  /** The same for each part of time in which they expire, as a ring. */
  readonly #expiring = new Uint32Array(cells * parts);
  #part = 0;
  /** Shares that were worked out: presenters come again and again. */
  readonly #known = new Map<string, number>();

  /**
   * @param perPresenter Most live entries of one presenter; at least a 64th of the ledger, so that the sketch's error does not matter.
   * @param horizonMs Longest life of an entry: what lives longer counts for this long. Entries count up to an eighth of it too long.
   */
  constructor(world: Pick<World, 'random'>, { perPresenter, horizonMs }: { perPresenter: number; horizonMs: number }) {
    // Presenters choose their keys: with a known hash one could look for a key that shares the cells of a victim.
    this.#key = world.random(32).toString('hex');
    this.#perPresenter = perPresenter;
    this.#partMs = horizonMs / (parts - 1);
  }

  /** The share of a presenter: both its cells in one number, so that the hash is paid for once. */
  shareOf(presenter: string): number {
    const known = this.#known.get(presenter);
    if (known !== undefined) return known;
    if (this.#known.size >= maxKnown) this.#known.clear();
    const share = this.#hash(presenter);
    this.#known.set(presenter, share);
    return share;
  }

  #hash(presenter: string): number {
    const digest = hash('sha256', this.#key + presenter, 'latin1');
    return (word(digest, 0) % width) + width * (word(digest, 2) % width);
  }

  /** @param before so many entries more that it is about to get. */
  isUsedUp(share: number, nowMs: number, before: number = 0): boolean {
    this.#advance(nowMs);
    const [first, second] = cellsOf(share);
    return Math.min(this.#totals[first] ?? 0, this.#totals[second] ?? 0) + before >= this.#perPresenter;
  }

  /** Counts one entry until its expiry. */
  add(share: number, expiresAtMs: number): void {
    const part = Math.min(Math.max(Math.floor(expiresAtMs / this.#partMs), this.#part), this.#part + parts - 1);
    const start = (part % parts) * cells;
    for (const cell of cellsOf(share)) {
      bump(this.#totals, cell);
      bump(this.#expiring, start + cell);
    }
  }

  /** Takes out the parts that are over. A clock that goes back a little changes nothing: their entries are gone. */
  #advance(nowMs: number): void {
    const part = Math.floor(nowMs / this.#partMs);
    if (!(part > this.#part)) {
      if (this.#part - part > parts) this.#beginAnew(part);
      return;
    }
    for (let gone = this.#part; gone < Math.min(part, this.#part + parts); gone++) {
      const start = (gone % parts) * cells;
      for (let cell = 0; cell < cells; cell++) {
        this.#totals[cell] = (this.#totals[cell] ?? 0) - (this.#expiring[start + cell] ?? 0);
      }
      this.#expiring.fill(0, start, start + cells);
    }
    this.#part = part;
  }

  /** The clock was far ahead: until it is there again, what was counted would never be over. */
  #beginAnew(part: number): void {
    this.#totals.fill(0);
    this.#expiring.fill(0);
    this.#part = part;
  }
}

function cellsOf(share: number): [number, number] {
  return [share % width, width + Math.floor(share / width)];
}

function bump(counts: Uint32Array, index: number): void {
  counts[index] = (counts[index] ?? 0) + 1;
}

/** Two bytes of a digest. */
function word(digest: string, at: number): number {
  return digest.charCodeAt(at) | (digest.charCodeAt(at + 1) << 8);
}
