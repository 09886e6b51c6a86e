import { endianness } from 'node:os';
import { agreement, otherCase, type Place, type Text } from './agreement.ts';
import { forms, type Form } from './forms.ts';
import { Places } from './places.ts';

/** Bytes that are looked up together: long enough that they are no accident, short enough to be met in every part of 23 bytes. */
const windowBytes = 8;
/** Distance of the places that are looked at: a part of 16 + 8 - 1 bytes contains a whole window at one of them. */
const widest = 16;
const bits = 18;
/** The upper bits of a hash say which bit of the filter is its own: first the word, then the place in it. */
const [indexShift, bitShift] = [37 - bits, 32 - bits] as const;
const scratch = Buffer.alloc(16_384);
const scratchWords = new Int32Array(scratch.buffer, scratch.byteOffset, scratch.length >>> 2);
/** Of a rare form so many bytes are learned, of so many bytes of the secret: who writes all of it down that way writes these too. */
const enough = 64;
const enoughOfSecret = 32;
/** Stands between two common texts: no secret has it. */
const border = Buffer.of(0);

/**
 * What a secret is recognised by, in all of its forms. Of a JWT its signature: the claims alone open nothing, and a table of all parts of
 * all tokens would cost more than it protects. Once the signature is met, the whole token around it is masked.
 */
export class Pattern {
  /** Bytes between two places that are looked at. */
  readonly stride: number;
  /** A run of so many bytes of a form is a part of the secret; a shorter one may be chance. */
  readonly shortestRun: number;
  /** One bit for each hash of a window, by its upper 18 bits: small enough to stay in the nearest cache. */
  readonly #filter = new Uint32Array(2 ** (bits - 5));
  /** The hashes themselves, open addressing; 0 is an empty slot. */
  readonly #hashes: Int32Array;
  /** Common forms, of which every part counts, one behind the other. */
  readonly #common: Buffer;
  /** How the other forms begin. */
  readonly #starts: readonly Text[];
  /** One bit for each two bytes that follow each other in a common form or a beginning; what does not end so needs no further look. */
  readonly #pairs = new Uint32Array(2 ** 11);
  readonly #firsts: ReadonlySet<number | undefined>;
  readonly #places: Places;

  /** @param secret ASCII text, at least eight characters long: a shorter one would be met by chance. */
  constructor(secret: string) {
    const jws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.(?<signature>[A-Za-z0-9_-]{32,})$/.exec(secret);
    const core = Buffer.from(jws?.groups?.['signature'] ?? secret, 'latin1');
    const isLong = ({ bytes }: Text): boolean => bytes.length >= windowBytes;
    const common = textsOf(core, (form) => form.isCommon === true).filter(isLong);
    const rare = textsOf(core.subarray(0, enoughOfSecret), (form) => form.isCommon !== true).filter(isLong);
    const shortest = Math.min(...[...common, ...rare].map(({ bytes }) => bytes.length));
    this.stride = Math.max(1, Math.min(widest, shortest - windowBytes + 1));
    this.shortestRun = this.stride + windowBytes - 1;
    this.#places = new Places({
      texts: () => textsOf(Buffer.from(secret, 'latin1'), () => true),
      shortestRun: this.shortestRun,
      isKnown: (text, at) => this.#mayBe(mix(text.readInt32LE(at), text.readInt32LE(at + 4))),
    });
    const hashes: number[] = [];
    for (const { bytes } of common) learn(bytes, false, hashes);
    for (const { bytes, inAnyCase } of rare) learn(bytes.subarray(0, enough), inAnyCase, hashes);
    // Many are there twice, so it is less full than it looks.
    this.#hashes = new Int32Array(2 ** Math.ceil(Math.log2(hashes.length * 1.3)));
    for (const hash of hashes) this.#keep(hash);
    this.#common = Buffer.concat(common.flatMap(({ bytes }) => [bytes, border]));
    const starts = rare.map(({ bytes, inAnyCase }) => ({ bytes: bytes.subarray(0, this.shortestRun - 1), inAnyCase }));
    this.#starts = [...new Map(starts.map((start) => [start.bytes.toString('latin1'), start])).values()];
    this.#firsts = new Set([...this.#common, ...this.#starts.map(({ bytes }) => bytes[0])]);
    this.#notePairs(this.#common, false);
    for (const { bytes, inAnyCase } of this.#starts) this.#notePairs(bytes, inAnyCase);
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
        if (this.#mayBe(one)) return at;
        if (this.#mayBe(two)) return at + step;
        if (this.#mayBe(three)) return at + 2 * step;
        if (this.#mayBe(four)) return at + 3 * step;
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
    for (let at = length; at < length + windowBytes; at += 1) scratch[at] = 0;
    return this.search(scratchWords, this.stride >>> 2, (length + 3) >>> 2) >= 0;
  }

  /** Where a run may stand in which forms that holds the window there; undefined where too many would have to be compared. */
  placesAround(bytes: Buffer, at: number): readonly Place[] | undefined {
    return this.#places.around(bytes, at);
  }

  /** Whether some form has the last of these bytes, any number of them, and then this one, where a part of it may begin. */
  goesOn(passed: Buffer, next: number | undefined): boolean {
    const last = passed.at(-1);
    if (last === undefined || next === undefined) return false;
    // Two bytes are enough to ask: what has more of them in common has these.
    if (!this.#isPair(last, next)) return false;
    if (this.#common.includes(Buffer.of(last, next))) return true;
    const bytes = Buffer.concat([passed, Buffer.of(next)]);
    return this.#starts.some((start) => {
      for (let from = 0; from < passed.length; from++)
        if (agreement({ text: start, at: 0 }, bytes, from) === bytes.length - from) return true;
      return false;
    });
  }

  /** How many bytes at the end could be the beginning of the secret, or of a part of it: they wait for what follows. */
  heldBack(bytes: Buffer): number {
    const last = bytes.at(-1);
    let most = this.#firsts.has(last) ? 1 : 0;
    const before = bytes.at(-2);
    if (last === undefined || before === undefined || !this.#isPair(before, last)) return most;
    const longest = Math.min(this.shortestRun - 1, bytes.length);
    while (most < longest && this.#common.includes(bytes.subarray(bytes.length - most - 1))) most++;
    for (const start of this.#starts) {
      for (let length = Math.min(start.bytes.length, bytes.length); length > most; length--) {
        if (agreement({ text: start, at: 0 }, bytes, bytes.length - length) === length) most = length;
      }
    }
    return most;
  }

  #notePairs(text: Buffer, inAnyCase: boolean): void {
    for (let at = 1; at < text.length; at++) {
      const [one = 0, other = 0] = [text[at - 1], text[at]];
      this.#notePair(one, other);
      if (!inAnyCase) continue;
      this.#notePair(otherCase(one), other);
      this.#notePair(one, otherCase(other));
      this.#notePair(otherCase(one), otherCase(other));
    }
  }

  #notePair(one: number, other: number): void {
    const pair = (one << 8) | other;
    this.#pairs[pair >>> 5] = (this.#pairs[pair >>> 5] ?? 0) | (1 << (pair & 31));
  }

  #isPair(one: number, other: number): boolean {
    const pair = (one << 8) | other;
    return ((this.#pairs[pair >>> 5] ?? 0) & (1 << (pair & 31))) !== 0;
  }

  #keep(hash: number): void {
    const mask = this.#hashes.length - 1;
    const bit = hash >>> (32 - bits);
    this.#filter[bit >>> 5] = (this.#filter[bit >>> 5] ?? 0) | (1 << (bit & 31));
    let slot = (hash ^ (hash >>> 15)) & mask;
    while (this.#hashes[slot] !== 0 && this.#hashes[slot] !== hash) slot = (slot + 1) & mask;
    this.#hashes[slot] = hash;
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

function textsOf(secret: Buffer, isMeant: (form: Form) => boolean): Text[] {
  return forms
    .filter(isMeant)
    .flatMap(({ write, inAnyCase = false }) => write(secret).map((bytes) => ({ bytes, inAnyCase })));
}

/** Adds the hashes of all windows of a text, in each mixture of cases where it may stand in any. */
function learn(text: Buffer, inAnyCase: boolean, hashes: number[]): void {
  for (let at = 0; at + windowBytes <= text.length; at++) {
    const [low, high] = [text.readInt32LE(at), text.readInt32LE(at + 4)];
    const [lowCases, highCases] = inAnyCase ? [casesIn(text, at), casesIn(text, at + 4)] : [0, 0];
    // All subsets of the bits that tell the cases apart.
    for (let one = lowCases; ; one = (one - 1) & lowCases) {
      for (let other = highCases; ; other = (other - 1) & highCases) {
        hashes.push(mix(low ^ one, high ^ other));
        if (other === 0) break;
      }
      if (one === 0) break;
    }
  }
}

/** In a word of four bytes from there on, the bits that tell the cases of hex digits apart. */
function casesIn(text: Buffer, at: number): number {
  let found = 0;
  for (let place = 0; place < 4; place++) {
    const byte = text[at + place] ?? 0;
    found |= (byte ^ otherCase(byte)) << (place * 8);
  }
  return found;
}

/** 32 bits of two words, as `search` makes them; where they agree by chance, the bytes themselves are compared. */
function mix(low: number, high: number): number {
  return Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca6b);
}
