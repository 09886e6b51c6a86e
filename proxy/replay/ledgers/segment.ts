/** Slots of a segment: 32 KB, which are put in anew in about 20 us. */
const slots = 2048;
const mask = slots - 1;
/** Entries, live or not, up to which a segment is filled: beyond, the ways to an empty slot get long. */
export const segmentLimit = Math.floor(slots * 0.85);

/** Room for the entries of one segment while they are put in anew. */
const moving = new Uint32Array(slots * 4);

/**
 * A hash table of fixed size with linear probing. A slot is four words: 96 bits of fingerprint and the second of expiry, 0 where nothing
 * was ever written. Entries that expired stay as steps on the way to others, and are written over by new ones.
 */
export class Segment {
  /** Leading bits that the fingerprints of this segment have in common. */
  depth: number;
  /** Slots that are not empty. */
  #used = 0;
  readonly #words = new Uint32Array(new SharedArrayBuffer(slots * 16));

  constructor(depth: number) {
    this.depth = depth;
  }

  get used(): number {
    return this.#used;
  }

  /** The slot of a fingerprint; if it is not here, the complement (`~`) of the slot to write it to. Always ends: some slot is empty. */
  find(a: number, b: number, c: number, deadSecond: number): number {
    const words = this.#words;
    let free = -1;
    for (let slot = b & mask; ; slot = (slot + 1) & mask) {
      const at = slot * 4;
      const expiry = words[at + 3] ?? 0;
      if (expiry === 0) return ~(free < 0 ? slot : free);
      if (words[at] === a && words[at + 1] === b && words[at + 2] === c) return slot;
      if (free < 0 && expiry <= deadSecond) free = slot;
    }
  }

  expiryAt(slot: number): number {
    return this.#words[slot * 4 + 3] ?? 0;
  }

  /** Writes over a slot. An empty one only while `used` is below the limit. */
  write(slot: number, a: number, b: number, c: number, expiry: number): void {
    const at = slot * 4;
    if (this.expiryAt(slot) === 0) this.#used++;
    this.#words[at] = a;
    this.#words[at + 1] = b;
    this.#words[at + 2] = c;
    this.#words[at + 3] = expiry;
  }

  /** How many entries are alive: the cheap look before anything is moved. */
  countLive(deadSecond: number): number {
    let live = 0;
    for (let at = 3; at < this.#words.length; at += 4) if ((this.#words[at] ?? 0) > deadSecond) live++;
    return live;
  }

  /** Drops what has expired. */
  clean(deadSecond: number): void {
    this.#moveOut();
    spread(deadSecond, this, this);
  }

  /** Drops what has expired and hands half of the rest, those whose next bit is set, to the new segment that is returned. */
  split(deadSecond: number): Segment {
    const bit = (0x80000000 >>> this.depth) >>> 0;
    this.depth++;
    const upper = new Segment(this.depth);
    this.#moveOut();
    spread(deadSecond, this, upper, bit);
    return upper;
  }

  /** Takes in all of its neighbour, which is not used any more. */
  absorb(neighbour: Segment, deadSecond: number): void {
    this.clean(deadSecond);
    neighbour.#moveOut();
    spread(deadSecond, this, this);
    this.depth--;
  }

  #moveOut(): void {
    moving.set(this.#words);
    this.#words.fill(0);
    this.#used = 0;
  }
}

/** Puts what was moved out and is alive into two segments, by one bit of the first word. */
function spread(deadSecond: number, lower: Segment, upper: Segment, bit: number = 0): void {
  for (let at = 0; at < moving.length; at += 4) {
    const expiry = moving[at + 3] ?? 0;
    if (expiry <= deadSecond) continue;
    const [a, b, c] = [moving[at] ?? 0, moving[at + 1] ?? 0, moving[at + 2] ?? 0];
    const segment = (a & bit) === 0 ? lower : upper;
    segment.write(~segment.find(a, b, c, 0), a, b, c, expiry);
  }
}
