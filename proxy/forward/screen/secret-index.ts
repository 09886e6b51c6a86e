import { endianness } from 'node:os';
import { forms } from './forms.ts';
import { mix, windowBytes } from './window.ts';

/** What kinds of secret to look for. A mark names a task in traces, and stores of traces may see it. */
export interface Wanted {
  readonly handles: boolean;
  readonly marks: boolean;
  readonly tokens: boolean;
}

type Kind = keyof Wanted;

/** A window is looked up at every fourth place: each text has to be long enough to cover one of these wherever it stands. */
const shortestText = windowBytes + 3;
/** Shorter keys could be words that mean something else. */
const shortestSecret = 16;
/** Of a token so much is looked for: its signature, or else its end, which no other token of its issuer has. */
const tokenBytes = 32;
/** Tokens and keys that are looked for; beyond, the oldest is forgotten. */
const maxTokens = 4096;
const bits = 20;
/** The upper bits of a hash say which bit of the filter is its own: first the word, then the place in it. */
const [wordShift, bitShift] = [37 - bits, 32 - bits] as const;
const readWord = endianness() === 'LE' ? 'readInt32LE' : 'readInt32BE';
/** A table of every form of every token would cost more than it protects. */
const formsOfTokens = forms.filter(
  ({ name, isCommon }) => isCommon === true || /^(?:JSON with \\\/|percent-encoded, where)/.test(name),
);
/** An escape, in a URL or in JSON, of a character that needs none: only who hides something writes it. */
const needless = /(?:%|\\u00)(?:2d|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9a])/i;

const percent = 0x25;
const backslash = 0x5c;

const nothing: readonly Needle[] = [];

/** One text by which a secret is recognised. */
interface Needle {
  readonly text: Buffer;
  readonly kind: Kind;
  /** How many tokens had been learned when it was. */
  readonly learnedAt: number;
}

/**
 * Finds secrets of ours in what the agent sends: handles and marks of this process, by what all of them begin with, and the tokens and
 * keys that went out with calls. One pass for all of them, of half a nanosecond a byte or so.
 */
export class SecretIndex {
  /** By the hash of each of the first four windows of their texts; a list where two have the same. */
  readonly #needles = new Map<number, Needle | readonly Needle[]>();
  /** One bit for each hash that may be there. */
  readonly #filter = new Uint32Array(2 ** (bits - 5));
  /** The tokens as a ring, in the order in which they were learned, each with its hashes. */
  readonly #tokens: (readonly Needle[] | undefined)[] = [];
  #oldest = 0;
  /** How many tokens were learned, and of each secret that was met, how many when it was. */
  #learned = 0;
  readonly #met = new WeakMap<object, number>();
  /** Bytes of the longest text. */
  readonly span: number;

  /** @param handle What every handle of this process begins with. @param mark The same of marks. */
  constructor(handle: string, mark: string) {
    const ours = [...needlesOf(handle, forms, 'handles'), ...needlesOf(mark, forms, 'marks')];
    for (const needle of ours) this.#learn(needle);
    // The longest spelling of a token that is known by any: three characters a byte.
    this.span = Math.max(tokenBytes * 3, ...ours.map(({ text }) => text.length));
  }

  /** From now on these are looked for. Called for each send: what is known already costs nothing. */
  learn(secrets: readonly { reveal(): string }[]): void {
    for (const secret of secrets) {
      const at = this.#met.get(secret);
      // One that is still in use when newer ones have pushed it out is learned again.
      if (at !== undefined && this.#learned - at < maxTokens) continue;
      this.#met.set(secret, this.#learnToken(secret.reveal()));
    }
  }

  /** Whether a secret of a wanted kind is in these bytes, as it is or in a form that SECURITY lists. */
  finds(bytes: Buffer, wanted: Wanted): boolean {
    // Words are read where they are aligned in memory.
    const first = (4 - (bytes.byteOffset & 3)) & 3;
    if (bytes.length < first + windowBytes) return false;
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + first, (bytes.length - first) >>> 2);
    for (let at = this.#next(words, 0); at >= 0; at = this.#next(words, at + 1)) {
      if (this.#isAt(bytes, first + at * 4, mix(words[at] ?? 0, words[at + 1] ?? 0), wanted)) return true;
    }
    return false;
  }

  /** The same also behind escapes that nobody needs. */
  findsEscaped(bytes: Buffer, wanted: Wanted): boolean {
    if (this.finds(bytes, wanted)) return true;
    // A byte is looked for in a fifth of the time of a text.
    if (!bytes.includes(percent) && !(bytes.includes(backslash) && bytes.includes('\\u00'))) return false;
    const text = bytes.toString('latin1');
    return needless.test(text) && this.finds(Buffer.from(withoutEscapes(text), 'latin1'), wanted);
  }

  /** How many bytes at the end could be the beginning of a secret; the first seven alone say too little. */
  tail(bytes: Buffer): number {
    for (let at = Math.max(0, bytes.length - this.span); at + windowBytes <= bytes.length; at += 1) {
      const rest = bytes.length - at;
      for (const { text } of this.#at(hashAt(bytes, at)))
        if (rest < text.length && bytes.compare(text, 0, rest, at) === 0) return rest;
    }
    return 0;
  }

  /** The next word from which on a known window may stand; -1 is certain. */
  #next(words: Int32Array, from: number): number {
    const filter = this.#filter;
    const last = words.length - 1;
    let at = from;
    // Four places a turn, and one decision: uploads pass here.
    for (const end = last - 3; at < end; at += 4) {
      const one = mix(words[at] ?? 0, words[at + 1] ?? 0);
      const two = mix(words[at + 1] ?? 0, words[at + 2] ?? 0);
      const three = mix(words[at + 2] ?? 0, words[at + 3] ?? 0);
      const four = mix(words[at + 3] ?? 0, words[at + 4] ?? 0);
      const found =
        ((filter[one >>> wordShift] ?? 0) >>> (one >>> bitShift)) |
        ((filter[two >>> wordShift] ?? 0) >>> (two >>> bitShift)) |
        ((filter[three >>> wordShift] ?? 0) >>> (three >>> bitShift)) |
        ((filter[four >>> wordShift] ?? 0) >>> (four >>> bitShift));
      if ((found & 1) !== 0) break;
    }
    for (; at < last; at += 1) {
      const hash = mix(words[at] ?? 0, words[at + 1] ?? 0);
      if ((((filter[hash >>> wordShift] ?? 0) >>> (hash >>> bitShift)) & 1) !== 0) return at;
    }
    return -1;
  }

  /** Whether one of the texts with this window stands around `at`: it began at most three bytes before. */
  #isAt(bytes: Buffer, at: number, hash: number, wanted: Wanted): boolean {
    for (const { text, kind } of this.#at(hash)) {
      if (!wanted[kind]) continue;
      for (let from = Math.max(0, at - 3); from <= at && from + text.length <= bytes.length; from += 1)
        if (isAt(bytes, from, text)) return true;
    }
    return false;
  }

  #at(hash: number): readonly Needle[] {
    const found = this.#needles.get(hash);
    if (found === undefined) return nothing;
    return 'text' in found ? [found] : found;
  }

  /** Returns how many had been learned when it was. */
  #learnToken(text: string): number {
    const jws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.(?<signature>[A-Za-z0-9_-]{32,})$/.exec(text);
    const core = jws?.groups?.['signature']?.slice(0, tokenBytes) ?? text.slice(-tokenBytes);
    if (core.length < shortestSecret) return this.#learned;
    const needles = needlesOf(core, formsOfTokens, 'tokens', this.#learned + 1);
    // A static key is read from its file again and again.
    const known = needles[0] === undefined ? undefined : this.#known(needles[0]);
    if (known !== undefined) return known.learnedAt;
    this.#learned += 1;
    for (const old of this.#tokens[this.#oldest] ?? []) this.#forget(old);
    this.#tokens[this.#oldest] = needles;
    this.#oldest = (this.#oldest + 1) % maxTokens;
    for (const needle of needles) this.#learn(needle);
    // Bits are shared and cannot be taken back one by one.
    if (this.#oldest === 0) this.#cleanFilter();
    return this.#learned;
  }

  #known({ text, kind }: Needle): Needle | undefined {
    return this.#at(hashAt(text, 0)).find((needle) => needle.kind === kind && needle.text.equals(text));
  }

  #learn(needle: Needle): void {
    for (let at = 0; at < 4; at += 1) {
      const hash = hashAt(needle.text, at);
      const others = this.#at(hash);
      this.#needles.set(hash, others.length === 0 ? needle : [...others, needle]);
      this.#mark(hash);
    }
  }

  #forget(needle: Needle): void {
    for (let at = 0; at < 4; at += 1) {
      const hash = hashAt(needle.text, at);
      const left = this.#at(hash).filter((other) => other !== needle);
      if (left.length === 0) this.#needles.delete(hash);
      else this.#needles.set(hash, left);
    }
  }

  #mark(hash: number): void {
    const word = hash >>> wordShift;
    this.#filter[word] = (this.#filter[word] ?? 0) | (1 << ((hash >>> bitShift) & 31));
  }

  #cleanFilter(): void {
    this.#filter.fill(0);
    for (const hash of this.#needles.keys()) this.#mark(hash);
  }
}

/** The two ends first: a body that is made of beginnings of a secret shall not cost a comparison for each of them. */
function isAt(bytes: Buffer, from: number, text: Buffer): boolean {
  const end = from + text.length;
  if (bytes[from] !== text[0] || bytes[end - 1] !== text[text.length - 1]) return false;
  return bytes.compare(text, 0, text.length, from, end) === 0;
}

function needlesOf(secret: string, written: typeof forms, kind: Kind, learnedAt = 0): Needle[] {
  const texts = written.flatMap((form) => form.write(Buffer.from(secret, 'latin1')));
  const long = texts.filter((text) => text.length >= shortestText);
  return [...new Map(long.map((text) => [text.toString('latin1'), { text, kind, learnedAt }])).values()];
}

function withoutEscapes(text: string): string {
  return text.replaceAll(/(?:%|\\u00)([2-7][0-9a-f])/gi, (_whole, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

function hashAt(bytes: Buffer, at: number): number {
  return mix(bytes[readWord](at), bytes[readWord](at + 4));
}
