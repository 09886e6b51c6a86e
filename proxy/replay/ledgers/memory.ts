import { hash } from 'node:crypto';
import type { World } from '../../world.ts';
import type { ClaimResult, ReplayLedger } from '../claim.ts';
import { Forgotten } from './forgotten.ts';
import { Segment, segmentLimit } from './segment.ts';

const maxSecond = 0xffff_ffff;
/** Segments looked at in each second in which the ledger is used: 0.2 ms at most, and 500,000 entries in two minutes. */
const tendedPerSecond = 4;
/** A clock that goes back by less is waited for. */
const waitSeconds = 60;

/**
 * The ledger of one process: 34 to 42 bytes an entry, under 1 us a claim, and no pause, since it grows by splitting one small segment at
 * a time (extendible hashing) and nothing ever walks over all entries. Keyed fingerprints of 96 bits: nobody can aim at the entry or the
 * segment of somebody else, and an accident, which refuses a good proof, has odds of 10^-23 at a million entries.
 */
export class MemoryLedger implements ReplayLedger {
  readonly #key: string;
  readonly #capacity: number;
  /** Segment of each value of the first `#bits` bits of a fingerprint. */
  #directory: Segment[];
  #bits = 1;
  /** How many entries end in each second: so the number of live ones is exact, though nobody removes them. */
  readonly #ending = new Map<number, number>();
  #live = 0;
  /** Up to here entries are forgotten. A clock that goes back a little does not take it back. */
  #second = 0;
  readonly #forgotten = new Forgotten();
  /** By how much ends were rounded up at most. */
  #grain = 1;
  #tended = 0;

  /** @param capacity Live entries, at least one. When they are all in use, new claims are refused; none is ever pushed out. */
  constructor(world: Pick<World, 'random'>, capacity: number) {
    this.#key = world.random(32).toString('hex');
    this.#capacity = capacity;
    const segment = new Segment(0);
    this.#directory = [segment, segment];
  }

  get entries(): number {
    return this.#live;
  }

  claim(fingerprintInput: string, expiresAtMs: number, nowMs: number): ClaimResult {
    this.#checkTimes(expiresAtMs, nowMs);
    this.advance(nowMs);
    const { a, b, c } = this.#fingerprint(fingerprintInput);
    let segment = this.#segmentOf(a);
    let slot = segment.find(a, b, c, this.#second);
    if (slot >= 0 && segment.expiryAt(slot) > toSecond(nowMs)) return 'spent';
    const expiry = this.#expiryOf(expiresAtMs, 0);
    if (expiry === undefined) return 'full';
    while (slot < 0 && segment.expiryAt(~slot) === 0 && segment.used >= segmentLimit) {
      this.#makeRoom(segment, a);
      segment = this.#segmentOf(a);
      slot = segment.find(a, b, c, this.#second);
    }
    segment.write(slot < 0 ? ~slot : slot, a, b, c, expiry);
    this.#ending.set(expiry, (this.#ending.get(expiry) ?? 0) + 1);
    this.#live++;
    return 'claimed';
  }

  foresee(fingerprintInput: string, expiresAtMs: number, nowMs: number, before: number): ClaimResult {
    this.#checkTimes(expiresAtMs, nowMs);
    if (this.has(fingerprintInput, nowMs)) return 'spent';
    return this.#expiryOf(expiresAtMs, before) === undefined ? 'full' : 'claimed';
  }

  /** Comparisons with NaN are all false, and would make every entry look expired. */
  #checkTimes(expiresAtMs: number, nowMs: number): void {
    if (!Number.isFinite(expiresAtMs) || !Number.isFinite(nowMs)) throw new Error('a claim has times');
  }

  /** The second in which a thing that is not spent would end here, behind so many other claims; undefined where it is not vouched for. */
  #expiryOf(expiresAtMs: number, before: number): number | undefined {
    const end = toSecond(expiresAtMs) + 1;
    const expiry = this.#roundUp(end);
    // It may have been here and be forgotten: after its end, or when the clock went back behind the end of a thing that comes again.
    if (expiry <= this.#second || this.#live + before >= this.#capacity) return undefined;
    return this.#forgotten.mayHold(end, end + this.#grain - 1) ? undefined : expiry;
  }

  has(fingerprintInput: string, nowMs: number): boolean {
    this.advance(nowMs);
    const { a, b, c } = this.#fingerprint(fingerprintInput);
    const segment = this.#segmentOf(a);
    const slot = segment.find(a, b, c, this.#second);
    return slot >= 0 && segment.expiryAt(slot) > toSecond(nowMs);
  }

  advance(nowMs: number): void {
    const second = toSecond(nowMs);
    if (!(second > this.#second)) {
      // Set back: what is forgotten stays forgotten. What can still be found is known, though it is not counted any more.
      if (this.#second - second > waitSeconds) this.#second = second;
      return;
    }
    let newest = this.#second;
    for (const [end, count] of this.#endedBy(second)) {
      this.#ending.delete(end);
      this.#live -= count;
      newest = Math.max(newest, end);
    }
    this.#forgotten.pass(this.#second, second, newest);
    this.#second = second;
    if (this.#live > 0) this.#tend();
    else if (this.#bits > 1) this.#empty();
  }

  /** Seconds between the last time and this one in which entries ended; the shorter of two walks. */
  *#endedBy(second: number): Generator<[number, number]> {
    if (second - this.#second > this.#ending.size) {
      for (const entry of this.#ending) if (entry[0] <= second) yield entry;
      return;
    }
    for (let end = this.#second + 1; end <= second; end++) {
      const count = this.#ending.get(end);
      if (count !== undefined) yield [end, count];
    }
  }

  /** Far ends are rounded up, by less than a 256th of the time until then, so that there are few different ones to count. */
  #roundUp(second: number): number {
    const grain = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, second - this.#second))) - 8);
    this.#grain = Math.max(this.#grain, grain);
    return Math.min(Math.ceil(second / grain) * grain, maxSecond);
  }

  /** SHA-256 of key and input; the digest never leaves, so that the key in front is enough. `latin1` saves two thirds of the time. */
  #fingerprint(input: string): { a: number; b: number; c: number } {
    const digest = hash('sha256', this.#key + input, 'latin1');
    return { a: word(digest, 0), b: word(digest, 4), c: word(digest, 8) };
  }

  #segmentOf(a: number): Segment {
    const segment = this.#directory[a >>> (32 - this.#bits)];
    if (segment === undefined) throw new Error('the directory has a hole');
    return segment;
  }

  /** Makes a full segment writable: by dropping what has expired, or, where that is little, by splitting it. */
  #makeRoom(segment: Segment, a: number): void {
    // With less room it would be full again, and cleaned again, after a few claims.
    if (segment.countLive(this.#second) < segmentLimit * 0.9) {
      segment.clean(this.#second);
      return;
    }
    if (segment.depth === this.#bits) {
      this.#directory = this.#directory.flatMap((one) => [one, one]);
      this.#bits++;
    }
    const { start, length } = this.#rangeOf(segment, a >>> (32 - this.#bits));
    this.#directory.fill(segment.split(this.#second), start + length / 2, start + length);
  }

  /** The part of the directory that leads to a segment; `index` is any place in it. */
  #rangeOf(segment: Segment, index: number): { start: number; length: number } {
    const length = 2 ** (this.#bits - segment.depth);
    return { start: index - (index % length), length };
  }

  /** Looks at the next few segments and joins neighbours that have become nearly empty: the memory of a rush is given back. */
  #tend(): void {
    for (let count = 0; count < tendedPerSecond; count++) {
      const index = this.#tended % this.#directory.length;
      const segment = this.#segmentOf(index * 2 ** (32 - this.#bits));
      const { start, length } = this.#rangeOf(segment, index);
      this.#tended = start + length;
      const first = start - (start % (2 * length));
      const neighbour = this.#directory[start === first ? first + length : first];
      if (neighbour?.depth !== segment.depth || neighbour === segment) continue;
      // Well below what makes a segment split, or a few claims would part them again.
      const live = segment.countLive(this.#second) + neighbour.countLive(this.#second);
      if (live > segmentLimit * 0.4) continue;
      segment.absorb(neighbour, this.#second);
      this.#directory.fill(segment, first, first + 2 * length);
    }
  }

  #empty(): void {
    const segment = new Segment(0);
    this.#directory = [segment, segment];
    this.#bits = 1;
    this.#tended = 0;
  }
}

function toSecond(ms: number): number {
  return Math.floor(ms / 1000);
}

/** Four bytes of a digest as an unsigned number. */
function word(digest: string, at: number): number {
  const low = digest.charCodeAt(at) | (digest.charCodeAt(at + 1) << 8) | (digest.charCodeAt(at + 2) << 16);
  return (low | (digest.charCodeAt(at + 3) << 24)) >>> 0;
}
