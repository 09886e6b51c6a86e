import { sizeOf, type Place, type Text } from './agreement.ts';
import { windowBytes } from './window.ts';

/** Places of a secret that are kept. One that repeats itself has far more, and is none. */
const maxPlaces = 65_536;
/** So many more for each of its characters. */
const placesPerCharacter = 128;
/** A place is one number: the text, and where in it. */
const textBits = 23;
const atMask = 2 ** textBits - 1;

/**
 * Where the windows of a secret stand in its texts, found by what stands beside them as well. A run that counts has so much in common
 * with a text on one side of each of its windows at least; so for text that only begins like a run, nothing is compared. To look through
 * all of the texts for each window took milliseconds for a hundred bytes of an answer that was made for that.
 */
export class PlaceIndex {
  readonly #texts: readonly Text[];
  readonly #beside: number;
  /** The place of each entry, the entry before with the same hash, and the last one of each hash; entries count from 1. */
  readonly #places: Uint32Array;
  readonly #before: Uint32Array;
  readonly #last: Uint32Array;
  /** Whether the secret repeats itself so often that not all of its places are known here. */
  readonly isPartial: boolean;

  /** @param isKnown Whether the window there can be met. @param shortestRun Bytes of the shortest run that counts. */
  constructor(texts: readonly Text[], shortestRun: number, isKnown: (text: Buffer, at: number) => boolean) {
    this.#texts = texts;
    this.#beside = Math.ceil((shortestRun - windowBytes) / 2);
    const most = (texts[0]?.bytes.length ?? 0) * placesPerCharacter + maxPlaces;
    const found: number[] = [];
    for (const [index, { bytes }] of texts.entries()) {
      for (let at = 0; at + windowBytes <= bytes.length && found.length <= most; at += 1)
        if (isKnown(bytes, at)) found.push(index * (atMask + 1) + at);
    }
    this.isPartial = found.length > most;
    this.#places = new Uint32Array(found);
    this.#before = new Uint32Array(found.length * 2 + 2);
    this.#last = new Uint32Array(2 ** Math.ceil(Math.log2(found.length * 2 + 1)));
    if (!this.isPartial) for (let place = 0; place < found.length; place += 1) this.#enter(place);
  }

  /** Bytes of memory that it takes, with its texts. */
  get size(): number {
    const { byteLength } = this.#places;
    return byteLength + this.#before.byteLength + this.#last.byteLength + sizeOf(this.#texts);
  }

  /** Places around which a run may stand, if the window at `at` belongs to it; some may be there twice, and some by chance. */
  around(bytes: Buffer, at: number): readonly Place[] {
    const found: Place[] = [];
    if (at + windowBytes + this.#beside <= bytes.length) this.#collect(this.#hash(bytes, at), 0, found);
    if (at >= this.#beside && this.#beside > 0) this.#collect(this.#hash(bytes, at - this.#beside), 1, found);
    return found;
  }

  #collect(hash: number, side: number, found: Place[]): void {
    for (let entry = this.#last[hash] ?? 0; entry !== 0; entry = this.#before[entry] ?? 0) {
      if ((entry & 1) !== side) continue;
      const place = this.#places[(entry >> 1) - 1] ?? 0;
      const text = this.#texts[place >>> textBits];
      if (text !== undefined) found.push({ text, at: place & atMask });
    }
  }

  /** Two entries: by the window with what follows it, and by the window with what stands before it. */
  #enter(index: number): void {
    const place = this.#places[index] ?? 0;
    const { bytes } = this.#texts[place >>> textBits] ?? { bytes: Buffer.alloc(0) };
    const at = place & atMask;
    const entry = (index + 1) * 2;
    if (at + windowBytes + this.#beside <= bytes.length) this.#link(entry, this.#hash(bytes, at));
    if (at >= this.#beside && this.#beside > 0) this.#link(entry + 1, this.#hash(bytes, at - this.#beside));
  }

  #link(entry: number, hash: number): void {
    this.#before[entry] = this.#last[hash] ?? 0;
    this.#last[hash] = entry;
  }

  /** Of a window and what is beside it, as a slot; letters have the same in both cases, since some texts stand in any. */
  #hash(bytes: Buffer, from: number): number {
    let hash = 0;
    for (let at = from; at < from + windowBytes + this.#beside; at += 1)
      hash = Math.imul(hash ^ ((bytes[at] ?? 0) | 0x20), 0x9e3779b1);
    return (hash ^ (hash >>> 15)) & (this.#last.length - 1);
  }
}
