import { endianness } from 'node:os';
import { agreement, agreementBefore, type Place } from './agreement.ts';
import type { Pattern } from './pattern.ts';
import { windowBytes } from './window.ts';

const star = 0x2a;
const readsWords = endianness() === 'LE';
const nothing = Buffer.alloc(0);
const mostPassed = 4;
/** Bytes that are compared with the secret in one answer; beyond, the rest of it is masked. */
const maxCompared = 1_000_000;
/** So many more for each byte of the answer. */
const comparedPerByte = 64;
/** A place costs so much more than the bytes that agree there. */
const placeCost = 8;
/** A part that begins in the bytes that passed has a whole window within so many that follow. */
const borderBytes = 64;

/**
 * Masks a secret in a stream of bytes. Every byte of it becomes a star, so that lengths stay what the tool said. What cannot be a part
 * of the secret passes at once; a tail that could be its beginning, or that of a part of it, waits for what follows, at most 22 bytes.
 */
class Masker {
  readonly #pattern: Pattern;
  /** Up to four last bytes that went on although the secret may begin with them: too few to be of use, and nobody waits for them. */
  #context: Buffer = nothing;
  /** What was held back behind them. */
  #held: Buffer = nothing;
  /** Where the secret goes on, when the last chunk ended within it. */
  #within: readonly Place[] = [];
  #masked = false;
  /** Bytes that may still be compared. */
  #credit = maxCompared;

  constructor(pattern: Pattern) {
    this.#pattern = pattern;
  }

  /** Whether anything was masked so far. */
  get hasMasked(): boolean {
    return this.#masked;
  }

  get isHolding(): boolean {
    return this.#held.length > 0;
  }

  /** What may go on of this chunk and of what was held back before; may be empty. */
  push(chunk: Buffer): Buffer {
    if (chunk.length === 0) return nothing;
    this.#credit += chunk.length * comparedPerByte;
    const isNew = this.#held.length === 0 && !this.#goesOnIn(chunk);
    // Most chunks end with a byte that some form begins with. They are not put together with the next one for that.
    const passed = isNew ? 0 : this.#context.length;
    const bytes = isNew ? chunk : Buffer.concat([this.#context, this.#held, chunk]);
    const screened = this.#screen(bytes);
    // Within the secret the tail is masked already.
    const tail = this.#within.length > 0 ? 0 : this.#pattern.heldBack(screened);
    const goes = tail <= mostPassed ? tail : Math.max(0, tail - (screened.length - passed));
    if (tail === 0 && passed === 0) {
      this.#held = this.#context = nothing;
      return screened;
    }
    // Copies: the reader of the connection writes over its buffer.
    const from = screened.length - tail;
    this.#context = goes === 0 ? nothing : Buffer.from(screened.subarray(from, from + goes));
    this.#held = tail === goes ? nothing : Buffer.from(screened.subarray(from + goes));
    return screened.subarray(passed, from + goes);
  }

  /** Whether a part of the secret may begin in the last bytes that passed, and go on in this chunk. */
  #goesOnIn(chunk: Buffer): boolean {
    if (!this.#pattern.goesOn(this.#context, chunk[0])) return false;
    if (chunk.length < borderBytes * 2) return true;
    // Two bytes follow each other by chance in one chunk of ten: a long one is not copied for that.
    return this.#next(Buffer.concat([this.#context, chunk.subarray(0, borderBytes)]), 0) >= 0;
  }

  /** What was held back, at the end of the stream. */
  end(): Buffer {
    const rest = this.#held;
    this.#held = this.#context = nothing;
    return rest;
  }

  #screen(bytes: Buffer): Buffer {
    if (this.#credit < 0) return this.#maskAll(bytes);
    let from = 0;
    let at = this.#within.length > 0 ? 0 : this.#next(bytes, 0);
    // As nearly always.
    if (at < 0) return bytes;
    const run = new Run(bytes);
    if (this.#within.length > 0) {
      from = run.goOn(this.#within, 0);
      this.#within = run.reachesEnd;
      at = this.#next(bytes, from);
    }
    for (; at >= 0; at = this.#next(bytes, from)) {
      from = run.maskAround(at, this.#pattern);
      this.#within = run.reachesEnd;
      if (run.compared > this.#credit) return this.#maskAll(bytes);
    }
    this.#credit -= run.compared;
    this.#masked ||= run.hasMasked;
    return run.bytes;
  }

  /** An answer that is made of parts of a secret that repeats itself would stop everything else: the rest of it is not looked at, and not seen. */
  #maskAll(bytes: Buffer): Buffer {
    this.#credit = Number.NEGATIVE_INFINITY;
    this.#masked = true;
    this.#within = [];
    return Buffer.alloc(bytes.length, star);
  }

  /** The next place from `from` on at which a window of the secret may stand, or -1. One in 16 bytes is looked at. */
  #next(bytes: Buffer, from: number): number {
    const { stride } = this.#pattern;
    const last = bytes.length - windowBytes;
    if (stride % 4 !== 0 || !readsWords) return this.#nextByBytes(bytes, from);
    // Words are read where they are aligned in memory; the first is less than a stride away, so that nothing is skipped.
    const first = from + ((4 - ((bytes.byteOffset + from) & 3)) & 3);
    if (first > last) return -1;
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + first, (bytes.length - first) >>> 2);
    const word = this.#pattern.find(bytes, words, first);
    return word < 0 ? -1 : first + word * 4;
  }

  /** For secrets so short that every few bytes have to be looked at, and for machines of the other byte order. */
  #nextByBytes(bytes: Buffer, from: number): number {
    const pattern = this.#pattern;
    for (let at = from; at + windowBytes <= bytes.length; at += pattern.stride)
      if (pattern.standsAt(bytes, at)) return at;
    return -1;
  }
}

/** Masks several secrets, one after the other. */
export class Maskers {
  readonly #all: readonly Masker[];

  constructor(patterns: readonly Pattern[]) {
    this.#all = patterns.map((pattern) => new Masker(pattern));
  }

  get hasMasked(): boolean {
    return this.#all.some((masker) => masker.hasMasked);
  }

  /** What may go on of this chunk and of what was held back before; may be empty. */
  push(chunk: Buffer): Buffer {
    let bytes = chunk;
    for (const masker of this.#all) bytes = masker.push(bytes);
    return bytes;
  }

  /** What was held back, at the end of the stream. */
  end(): Buffer {
    let rest: Buffer = nothing;
    for (const masker of this.#all) {
      const passes = masker.push(rest);
      rest = masker.isHolding ? Buffer.concat([passes, masker.end()]) : passes;
    }
    return rest;
  }
}

/** One chunk while it is masked; copied before the first change, since its bytes belong to the reader of the connection. */
class Run {
  bytes: Buffer;
  hasMasked = false;
  /** Places of the secret that go on beyond the end of the chunk. */
  reachesEnd: readonly Place[] = [];
  /** Bytes that were compared. */
  compared = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Masks what follows at `from` of the secret, whichever form goes on longest. Returns where it ends. */
  goOn(places: readonly Place[], from: number): number {
    let to = from;
    const further: Place[] = [];
    for (const { text, at } of places) {
      const end = from + agreement({ text, at }, this.bytes, from);
      to = Math.max(to, end);
      if (end === this.bytes.length && at + end - from < text.bytes.length) further.push({ text, at: at + end - from });
    }
    this.reachesEnd = further;
    this.#mask(from, to);
    return to;
  }

  /** Masks the longest run of a form that holds the window at `at`. Returns where to look next. */
  maskAround(at: number, pattern: Pattern): number {
    const { bytes } = this;
    let [start, end] = [at, at];
    const further: Place[] = [];
    const places = pattern.placesAround(bytes, at);
    if (places === undefined) this.compared = Number.POSITIVE_INFINITY;
    for (const place of places ?? []) {
      const before = agreementBefore(place, bytes, at);
      const after = agreement(place, bytes, at);
      this.compared += placeCost + before + after;
      if (before + after < pattern.shortestRun) continue;
      start = Math.min(start, at - before);
      end = Math.max(end, at + after);
      const next = place.at + after;
      if (at + after === bytes.length && next < place.text.bytes.length) further.push({ text: place.text, at: next });
    }
    this.reachesEnd = further;
    this.#mask(start, end);
    return Math.max(end, at + pattern.stride);
  }

  #mask(from: number, to: number): void {
    if (to <= from) return;
    if (!this.hasMasked) this.bytes = Buffer.from(this.bytes);
    this.hasMasked = true;
    this.bytes.fill(star, from, to);
  }
}
