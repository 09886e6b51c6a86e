import { endianness } from 'node:os';
import { forms } from './forms.ts';

/** Bytes that are looked up together: long enough that they are no accident, short enough to be met in every part of 23 bytes. */
const windowBytes = 8;
/** Distance of the places that are looked at: a part of 16 + 8 - 1 bytes contains a whole window at one of them. */
const widest = 16;
const bits = 18;
/** The upper bits of a hash say which bit of the filter is its own: first the word, then the place in it. */
const [indexShift, bitShift] = [37 - bits, 32 - bits] as const;
const scratch = Buffer.alloc(16_384);
const scratchWords = new Int32Array(scratch.buffer, scratch.byteOffset, scratch.length >>> 2);
/** Of a rare form so many bytes of the secret are learned: who writes all of it down that way writes these too. */
const enough = 32;

/** A place in one form of a secret. */
export interface Place {
  readonly text: Buffer;
  readonly at: number;
}

/**
 * What a secret is recognised by, in all of its forms. Of a JWT its signature: the claims alone open nothing, and a table of all parts of
 * all tokens would cost more than it protects. Once the signature is met, the whole token around it is masked.
 */
export class Pattern {
  /** Bytes between two places that are looked at. */
  readonly stride: number;
  /** A run of so many bytes of a form is a part of the secret; a shorter one may be chance. */
  readonly shortestRun: number;
  readonly #secret: string;
  /** One bit for each hash of a window, by its upper 18 bits: small enough to stay in the nearest cache. */
  readonly #filter = new Uint32Array(2 ** (bits - 5));
  /** The hashes themselves, open addressing; 0 is an empty slot. */
  readonly #hashes: Int32Array;
  readonly #starts: readonly Buffer[];
  /** One bit for each two bytes that follow each other in a beginning; what does not end so needs no further look. */
  readonly #pairs = new Uint32Array(2 ** 11);
  readonly #firsts: ReadonlySet<number | undefined>;
  #whole: readonly Buffer[] | undefined;

  /** @param secret ASCII text, at least eight characters long: a shorter one would be met by chance. */
  constructor(secret: string) {
    this.#secret = secret;
    const jws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.(?<signature>[A-Za-z0-9_-]{32,})$/.exec(secret);
    const core = Buffer.from(jws?.groups?.['signature'] ?? secret, 'latin1');
    const texts = forms
      .flatMap((form) => form.write(form.isCommon ? core : core.subarray(0, enough)))
      .filter((text) => text.length >= windowBytes);
    const shortest = Math.min(...texts.map((text) => text.length));
    this.stride = Math.max(1, Math.min(widest, shortest - windowBytes + 1));
    this.shortestRun = this.stride + windowBytes - 1;
    const count = texts.reduce((sum, text) => sum + text.length, 0);
    this.#hashes = new Int32Array(2 ** Math.ceil(Math.log2(count * 2)));
    for (const text of texts) this.#learn(text);
    const starts = texts.map((text) => text.subarray(0, this.shortestRun - 1));
    this.#starts = [...new Map(starts.map((start) => [start.toString('latin1'), start])).values()];
    this.#firsts = new Set(this.#starts.map((start) => start[0]));
    for (const start of this.#starts) {
      for (let at = 1; at < start.length; at++) {
        const pair = ((start[at - 1] ?? 0) << 8) | (start[at] ?? 0);
        this.#pairs[pair >>> 5] = (this.#pairs[pair >>> 5] ?? 0) | (1 << (pair & 31));
      }
    }
  }

  /**
   * The first place, one in so many, at which a part of the secret may stand, as an index of words; -1 is certain.
   * @param words of four bytes, little-endian. @param step Words between two places. @param end Index of the last word that begins no place.
   */
  search(words: Int32Array, step: number, end: number = words.length - 1): number {
    // Everything in one loop over local values: a gigabyte passes here.
    const filter = this.#filter;
    let at = 0;
    // Four places a turn: nearly always none of them is anything.
    for (const last = end - 3 * step; at < last; at += 4 * step) {
      const one = mix(words[at] ?? 0, words[at + 1] ?? 0);
      const two = mix(words[at + step] ?? 0, words[at + step + 1] ?? 0);
      const three = mix(words[at + 2 * step] ?? 0, words[at + 2 * step + 1] ?? 0);
      const four = mix(words[at + 3 * step] ?? 0, words[at + 3 * step + 1] ?? 0);
      const found =
        (((filter[one >>> indexShift] ?? 0) >>> (one >>> bitShift)) |
          ((filter[two >>> indexShift] ?? 0) >>> (two >>> bitShift)) |
          ((filter[three >>> indexShift] ?? 0) >>> (three >>> bitShift)) |
          ((filter[four >>> indexShift] ?? 0) >>> (four >>> bitShift))) &
        1;
      if (found !== 0) {
        const place = [one, two, three, four].findIndex((hash) => this.#mayBe(hash));
        if (place >= 0) return at + place * step;
      }
    }
    for (; at < end; at += step) if (this.#mayBe(mix(words[at] ?? 0, words[at + 1] ?? 0))) return at;
    return -1;
  }

  /** Whether a text may hold a part of the secret: a look that costs no memory, for the headers of every answer. */
  mayBeIn(text: string): boolean {
    if (this.stride % 4 !== 0 || text.length + windowBytes > scratch.length || endianness() !== 'LE') return true;
    const length = scratch.write(text, 'latin1');
    // What stood there before must not be read as a part of this text.
    scratch.fill(0, length, length + windowBytes);
    return this.search(scratchWords, this.stride >>> 2, (length + 3) >>> 2) >= 0;
  }

  /** Where in which forms these bytes stand; empty where it was a chance after all. */
  *places(window: Buffer): Generator<Place> {
    // Written out when it is needed for the first time: most answers hold no secret.
    this.#whole ??= forms.flatMap((form) => form.write(Buffer.from(this.#secret, 'latin1')));
    for (const text of this.#whole) {
      for (let at = text.indexOf(window); at >= 0; at = text.indexOf(window, at + 1)) yield { text, at };
    }
  }

  /** Whether some form begins with the last of these bytes, any number of them, and has this one next. */
  goesOn(passed: Buffer, next: number | undefined): boolean {
    for (let from = 0; from < passed.length; from++) {
      const length = passed.length - from;
      if (this.#starts.some((start) => start[length] === next && passed.compare(start, 0, length, from) === 0))
        return true;
    }
    return false;
  }

  /** How many bytes at the end could be the beginning of the secret: they wait for what follows. */
  heldBack(bytes: Buffer): number {
    const last = bytes.at(-1);
    let most = this.#firsts.has(last) ? 1 : 0;
    const pair = ((bytes.at(-2) ?? 0) << 8) | (last ?? 0);
    if (((this.#pairs[pair >>> 5] ?? 0) & (1 << (pair & 31))) === 0) return most;
    for (const start of this.#starts) {
      for (let length = Math.min(start.length, bytes.length); length > most; length--) {
        if (start[length - 1] !== last) continue;
        if (bytes.compare(start, 0, length, bytes.length - length) === 0) most = length;
      }
    }
    return most;
  }

  #learn(text: Buffer): void {
    const mask = this.#hashes.length - 1;
    for (let at = 0; at + windowBytes <= text.length; at++) {
      const hash = mix(text.readInt32LE(at), text.readInt32LE(at + 4));
      const bit = hash >>> (32 - bits);
      this.#filter[bit >>> 5] = (this.#filter[bit >>> 5] ?? 0) | (1 << (bit & 31));
      let slot = (hash ^ (hash >>> 15)) & mask;
      while (this.#hashes[slot] !== 0 && this.#hashes[slot] !== hash) slot = (slot + 1) & mask;
      this.#hashes[slot] = hash;
    }
  }

  #mayBe(hash: number): boolean {
    return (((this.#filter[hash >>> indexShift] ?? 0) >>> (hash >>> bitShift)) & 1) !== 0 && this.#isKnown(hash);
  }

  #isKnown(hash: number): boolean {
    const mask = this.#hashes.length - 1;
    let slot = (hash ^ (hash >>> 15)) & mask;
    while (this.#hashes[slot] !== 0) {
      if (this.#hashes[slot] === hash) return true;
      slot = (slot + 1) & mask;
    }
    // The one hash that looks like an empty slot.
    return hash === 0;
  }
}

/** 32 bits of two words, as `search` makes them; where they agree by chance, the bytes themselves are compared. */
function mix(low: number, high: number): number {
  return Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca6b);
}
