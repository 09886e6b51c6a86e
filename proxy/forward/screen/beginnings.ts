import { agreement, inLowerCase, otherCase, type Text } from './agreement.ts';

/** Stands between two common texts: no secret has it. */
const border = Buffer.of(0);

/** So many bytes of a text, from its first one on. */
interface Beginning {
  readonly text: Text;
  readonly length: number;
}

/** What the end of a chunk may be the beginning of: of the secret in any form, or of a part of it in a common one. */
export class Beginnings {
  readonly #longest: number;
  /** Common forms, of which every part counts, one behind the other. */
  readonly #common: Buffer;
  /** How the other forms begin. */
  readonly #starts: readonly Text[];
  /** One bit for each two bytes that follow each other in a common form or a beginning; what does not end so needs no further look. */
  readonly #pairs = new Uint32Array(2 ** 11);
  readonly #firsts: ReadonlySet<number | undefined>;
  /** The beginnings by their last two bytes, the longest first. */
  #byEnd: ReadonlyMap<number, readonly Beginning[]> | undefined;

  /** @param longest Bytes of the longest beginning that is no run yet. */
  constructor(common: readonly Text[], rare: readonly Text[], longest: number) {
    this.#longest = longest;
    this.#common = Buffer.concat(common.flatMap(({ bytes }) => [bytes, border]));
    const starts = rare.map(({ bytes, inAnyCase }) => ({ bytes: bytes.subarray(0, longest), inAnyCase }));
    this.#starts = [...new Map(starts.map((start) => [start.bytes.toString('latin1'), start])).values()];
    this.#firsts = new Set([...this.#common, ...this.#starts.map(({ bytes }) => bytes[0])]);
    this.#notePairs(this.#common, false);
    for (const { bytes, inAnyCase } of this.#starts) this.#notePairs(bytes, inAnyCase);
  }

  /** Whether some form has the last of these bytes, any number of them, and then this one, where a part of it may begin. */
  goesOn(passed: Buffer, next: number | undefined): boolean {
    const last = passed.at(-1);
    if (last === undefined || next === undefined) return false;
    // Two bytes are enough to ask: what has more of them in common has these.
    if (!this.#isPair(last, next)) return false;
    return this.#common.includes(Buffer.of(last, next)) || this.#startAt(Buffer.concat([passed, Buffer.of(next)])) > 0;
  }

  /** How many bytes at the end could be the beginning of the secret, or of a part of it: they wait for what follows. */
  heldBack(bytes: Buffer): number {
    const last = bytes.at(-1);
    let most = this.#firsts.has(last) ? 1 : 0;
    const before = bytes.at(-2);
    if (last === undefined || before === undefined || !this.#isPair(before, last)) return most;
    const longest = Math.min(this.#longest, bytes.length);
    while (most < longest && this.#common.includes(bytes.subarray(bytes.length - most - 1))) most++;
    return Math.max(most, this.#startAt(bytes));
  }

  /** Bytes of the longest start, two at least, that stands at the end; 0 for none. */
  #startAt(bytes: Buffer): number {
    this.#byEnd ??= byEnd(this.#starts);
    for (const { text, length } of this.#byEnd.get(endOf(bytes, bytes.length)) ?? [])
      if (length <= bytes.length && agreement({ text, at: 0 }, bytes, bytes.length - length) === length) return length;
    return 0;
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
}

/** The two bytes before `end`, of hex digits those of the lower case. */
function endOf(bytes: Buffer, end: number): number {
  return (inLowerCase(bytes[end - 2] ?? 0) << 8) | inLowerCase(bytes[end - 1] ?? 0);
}

function byEnd(starts: readonly Text[]): ReadonlyMap<number, readonly Beginning[]> {
  const found = new Map<number, Beginning[]>();
  for (const text of starts) {
    for (let length = 2; length <= text.bytes.length; length += 1) {
      const end = endOf(text.bytes, length);
      const others = found.get(end);
      if (others === undefined) found.set(end, [{ text, length }]);
      else others.push({ text, length });
    }
  }
  for (const all of found.values()) all.sort((one, other) => other.length - one.length);
  return found;
}
