import { endianness } from 'node:os';
import { otherCase, type Place, type Text } from './agreement.ts';
import { Beginnings } from './beginnings.ts';
import { forms, type Form } from './forms.ts';
import { LongWindows } from './long-windows.ts';
import { Places } from './places.ts';
import { mix, windowBytes } from './window.ts';

/** Distance of the places that are looked at: a part of 16 + 8 - 1 bytes contains a whole window at one of them. */
const widest = 16;
const bits = 18;
/** The upper bits of a hash say which bit of the filter is its own: first the word, then the place in it. */
const [indexShift, bitShift] = [37 - bits, 32 - bits] as const;
const scratch = Buffer.alloc(16_384);
const scratchWords = new Int32Array(scratch.buffer, scratch.byteOffset, scratch.length >>> 2);
/** Of a rare form so many bytes are learned, of so many bytes of the secret: who writes all of it down that way writes these too. */
const enough = 72;
const enoughOfSecret = 36;

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
  readonly #known: LongWindows;
  readonly #beginnings: Beginnings;
  readonly #places: Places;

  /** @param secret ASCII text, at least eight characters long: a shorter one would be met by chance. */
  constructor(secret: string) {
    const jws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.(?<signature>[A-Za-z0-9_-]{32,})$/.exec(secret);
    const core = Buffer.from(jws?.groups?.['signature'] ?? secret, 'latin1');
    const common = textsOf(core, (form) => form.isCommon === true).filter(isLong);
    const rare = textsOf(core.subarray(0, enoughOfSecret), (form) => form.isCommon !== true).filter(isLong);
    const shortest = Math.min(...[...common, ...rare].map(({ bytes }) => bytes.length));
    this.stride = Math.max(1, Math.min(widest, shortest - windowBytes + 1));
    this.shortestRun = this.stride + windowBytes - 1;
    const learned = [...common, ...rare.map((text) => ({ ...text, bytes: text.bytes.subarray(0, enough) }))];
    for (const text of learned) for (const hash of hashesOf(text)) this.#mark(hash);
    this.#known = new LongWindows(learned, this.shortestRun, (bytes, at) => this.#isIn(bytes, at));
    this.#beginnings = new Beginnings(common, rare, this.shortestRun - 1);
    this.#places = new Places({
      texts: () => textsOf(Buffer.from(secret, 'latin1'), () => true),
      shortestRun: this.shortestRun,
      isKnown: (text, at) => this.standsAt(text, at),
    });
  }

  /**
   * The first of the places, one in so many, at which a part of the secret may stand, as an index of words; -1 is certain.
   * @param bytes The same as the words, of four bytes, little-endian; `first` is where these begin, and `end` their last that begins none.
   */
  find(bytes: Buffer, words: Int32Array, first = 0, end: number = words.length - 1): number {
    const step = this.stride >>> 2;
    let at = this.#search(words, step, 0, end);
    // At the ends of the words it cannot be told from these alone.
    while (at >= 0 && !this.standsAt(bytes, first + at * 4)) at = this.#search(words, step, at + step, end);
    return at;
  }

  #search(words: Int32Array, step: number, from: number, end: number): number {
    // Everything in one loop over local values: a gigabyte passes here.
    const filter = this.#filter;
    let at = from;
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
        if (this.#mayBe(one) && this.#known.aroundWords(words, at)) return at;
        if (this.#mayBe(two) && this.#known.aroundWords(words, at + step)) return at + step;
        if (this.#mayBe(three) && this.#known.aroundWords(words, at + 2 * step)) return at + 2 * step;
        if (this.#mayBe(four) && this.#known.aroundWords(words, at + 3 * step)) return at + 3 * step;
      }
    }
    for (; at < end; at += step)
      if (this.#mayBe(mix(words[at] ?? 0, words[at + 1] ?? 0)) && this.#known.aroundWords(words, at)) return at;
    return -1;
  }

  /** Whether the window there may belong to a part of the secret, by what stands beside it. */
  standsAt(bytes: Buffer, at: number): boolean {
    return this.#isIn(bytes, at) && this.#known.around(bytes, at);
  }

  /** Whether a text may hold a part of the secret: a look that costs no memory, for the headers of every answer. */
  mayBeIn(text: string): boolean {
    if (this.stride % 4 !== 0 || text.length + windowBytes > scratch.length || endianness() !== 'LE') return true;
    const length = scratch.write(text, 'latin1');
    // What stood there before must not be read as a part of this text.
    for (let at = length; at < length + windowBytes; at += 1) scratch[at] = 0;
    return this.find(scratch, scratchWords, 0, (length + 3) >>> 2) >= 0;
  }

  /** Where a run may stand in which forms that holds the window there; undefined where too many would have to be compared. */
  placesAround(bytes: Buffer, at: number): readonly Place[] | undefined {
    return this.#places.around(bytes, at);
  }

  /** Whether some form has the last of these bytes, any number of them, and then this one, where a part of it may begin. */
  goesOn(passed: Buffer, next: number | undefined): boolean {
    return this.#beginnings.goesOn(passed, next);
  }

  /** How many bytes at the end could be the beginning of the secret, or of a part of it: they wait for what follows. */
  heldBack(bytes: Buffer): number {
    return this.#beginnings.heldBack(bytes);
  }

  #mark(hash: number): void {
    const bit = hash >>> (32 - bits);
    this.#filter[bit >>> 5] = (this.#filter[bit >>> 5] ?? 0) | (1 << (bit & 31));
  }

  #isIn(bytes: Buffer, at: number): boolean {
    return this.#mayBe(mix(bytes.readInt32LE(at), bytes.readInt32LE(at + 4)));
  }

  #mayBe(hash: number): boolean {
    return (((this.#filter[hash >>> indexShift] ?? 0) >>> (hash >>> bitShift)) & 1) !== 0;
  }
}

function isLong({ bytes }: Text): boolean {
  return bytes.length >= windowBytes;
}

function textsOf(secret: Buffer, isMeant: (form: Form) => boolean): Text[] {
  return forms
    .filter(isMeant)
    .flatMap(({ write, inAnyCase = false }) => write(secret).map((bytes) => ({ bytes, inAnyCase })));
}

/** The hashes of all windows of a text, in each mixture of cases where it may stand in any. */
function hashesOf({ bytes: text, inAnyCase }: Text): number[] {
  const hashes: number[] = [];
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
  return hashes;
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
