import { sizeOf, type Text } from './agreement.ts';
import { windowBytes } from './window.ts';

const bits = 16;

/**
 * The windows of a secret's texts, each with what stands beside it. A run that counts has so much on one side of each of its windows at
 * least. A window alone may say nothing of the secret: of a list of numbers it is eight spaces, as they stand all over indented JSON.
 */
export class LongWindows {
  /** Whole words beside a window: none, one or two. */
  readonly #beside: number;
  /** One bit for each hash, by its upper bits: most are settled here. */
  readonly #filter = new Uint32Array(2 ** (bits - 5));
  /** The hashes, open addressing; 0 is an empty slot, and a hash of 0 is always there. */
  readonly #hashes: Int32Array;

  readonly #isIn: (bytes: Buffer, at: number) => boolean;

  /** @param shortestRun Bytes of the shortest run that counts. @param isIn Whether the window there may be one of theirs. */
  constructor(texts: readonly Text[], shortestRun: number, isIn: (bytes: Buffer, at: number) => boolean) {
    this.#beside = Math.ceil((shortestRun - windowBytes) / 2) >>> 2;
    this.#isIn = isIn;
    this.#hashes = new Int32Array(2 ** Math.ceil(Math.log2(sizeOf(texts) * 1.3)));
    const long = windowBytes + this.#beside * 4;
    for (const { bytes } of texts)
      for (let at = 0; at + long <= bytes.length; at += 1) this.#keep(this.#hash(bytes, at));
  }

  /** Whether the window at `at` stands there as it does in one of the texts, by what follows it or by what is before it. */
  around(bytes: Buffer, at: number): boolean {
    return this.#isAt(bytes, at) || (this.#beside > 0 && this.#isAt(bytes, at - this.#beside * 4));
  }

  #isAt(bytes: Buffer, from: number): boolean {
    const last = from + this.#beside * 4;
    if (from < 0 || last + windowBytes > bytes.length || !this.#has(this.#hash(bytes, from))) return false;
    // Of a gigabyte some hashes are the same by chance, and text that repeats itself has such a one again and again.
    for (let at = from; at <= last; at += 1) if (!this.#isIn(bytes, at)) return false;
    return true;
  }

  /** The same for the window of two words at `at`; where too little is there to say, it may. */
  aroundWords(words: Int32Array, at: number): boolean {
    const beside = this.#beside;
    if (at < beside || at + 2 + beside > words.length) return true;
    const third = beside > 0 ? (words[at + 2] ?? 0) : 0;
    const fourth = beside > 1 ? (words[at + 3] ?? 0) : 0;
    const [one, two] = [words[at] ?? 0, words[at + 1] ?? 0];
    const after = mixAll(one, two, third, fourth);
    const filter = this.#filter;
    const before =
      beside > 1 ? mixAll(words[at - 2] ?? 0, words[at - 1] ?? 0, one, two) : mixAll(words[at - 1] ?? 0, one, two, 0);
    const found =
      ((filter[after >>> (37 - bits)] ?? 0) >>> (after >>> (32 - bits))) |
      ((filter[before >>> (37 - bits)] ?? 0) >>> (before >>> (32 - bits)));
    return (found & 1) !== 0 && (this.#has(after) || (beside > 0 && this.#has(before)));
  }

  #hash(bytes: Buffer, at: number): number {
    const third = this.#beside > 0 ? bytes.readInt32LE(at + 8) : 0;
    const fourth = this.#beside > 1 ? bytes.readInt32LE(at + 12) : 0;
    return mixAll(bytes.readInt32LE(at), bytes.readInt32LE(at + 4), third, fourth);
  }

  #keep(hash: number): void {
    const bit = hash >>> (32 - bits);
    this.#filter[bit >>> 5] = (this.#filter[bit >>> 5] ?? 0) | (1 << (bit & 31));
    this.#hashes[this.#slot(hash)] = hash;
  }

  #has(hash: number): boolean {
    const bit = hash >>> (32 - bits);
    return (((this.#filter[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) !== 0 && this.#hashes[this.#slot(hash)] === hash;
  }

  /** Where it is, or else would be. */
  #slot(hash: number): number {
    const mask = this.#hashes.length - 1;
    // The lower bits of texts that are alike are alike.
    let slot = (hash >>> 12) & mask;
    while (this.#hashes[slot] !== 0 && this.#hashes[slot] !== hash) slot = (slot + 1) & mask;
    return slot;
  }
}

/**
 * 32 bits of four words. Letters have the same in both cases, since some texts stand in any. Turned, so that words which differ in their
 * upper bytes only, as those of UTF-32 do, do not all come to the same few.
 */
function mixAll(first: number, second: number, third: number, fourth: number): number {
  const two = Math.imul(second | 0x20202020, 0x85ebca6b);
  const three = Math.imul(third | 0x20202020, 0xc2b2ae35);
  const four = Math.imul(fourth | 0x20202020, 0x27d4eb2f);
  return (
    Math.imul(first | 0x20202020, 0x9e3779b1) ^
    ((two << 8) | (two >>> 24)) ^
    ((three << 16) | (three >>> 16)) ^
    ((four << 24) | (four >>> 8))
  );
}
