import type { ServerResponse } from 'node:http';
import { DecodedBody, MaskedBody, OpenBody, type AnswerBody } from './answer-body.ts';
import { decodersFor } from './decoding.ts';
import { Maskers } from './masker.ts';
import { Pattern } from './pattern.ts';

/** A credential that went out with a call; the object is the same as long as the credential is. */
export interface Screened {
  reveal(): string;
}

/** What the agent may see of one answer (W3). */
export interface AnswerScreen {
  /** The head and the body's way, or undefined for an answer that cannot be read. `onBroken`: it is not what it says. */
  open(response: ServerResponse, head: AnswerHead, hasBody: boolean, onBroken: () => void): OpenedAnswer | undefined;
  /** One text: a trailer, the reason phrase. */
  text(value: string): string;
  /** Whether a text held the credential. */
  readonly hasMasked: boolean;
}

/** What stands before a body. */
export interface AnswerHead {
  /** Names and values, flat. */
  readonly forward: string[];
  /** Value of `Content-Length`. */
  readonly length: number | undefined;
}

/** An answer whose head may go on. */
export interface OpenedAnswer {
  readonly headers: string[];
  readonly body: AnswerBody;
}

/** For calls that carry nothing of ours. */
export const nothingToScreen: AnswerScreen = {
  open: (response, { forward, length }) => ({ headers: forward, body: new OpenBody(response, length) }),
  text: (value) => value,
  hasMasked: false,
};

const patterns = new WeakMap<Screened, Pattern>();
/** A pattern takes some 100 KB and 1 ms to make. Beyond, the oldest is made anew should its credential be used again. */
const maxPatterns = 512;
/** Whose patterns there are, in the order in which they were made: none is kept alive by that. */
const made: WeakRef<Screened>[] = [];
let next = 0;

/** The screen of one answer to a call with these credentials. */
export function screenFor(secrets: readonly Screened[]): AnswerScreen {
  return new CredentialScreen(secrets);
}

/** Describes the bytes that the tool sent: no longer true once the coding is taken off. */
const ofTheCoding = new Set([
  'content-encoding',
  'content-length',
  'content-md5',
  'content-digest',
  'digest',
  'repr-digest',
  'accept-ranges',
]);

class CredentialScreen implements AnswerScreen {
  readonly #patterns: readonly Pattern[];
  /** A part of a secret that can be recognised is not shorter. */
  readonly #least: number;
  hasMasked = false;

  constructor(secrets: readonly Screened[]) {
    this.#patterns = secrets.map(patternOf);
    this.#least = Math.min(...this.#patterns.map(({ shortestRun }) => shortestRun));
  }

  open(
    response: ServerResponse,
    { forward, length }: AnswerHead,
    hasBody: boolean,
    onBroken: () => void,
  ): OpenedAnswer | undefined {
    const kept = this.#maskValues(forward);
    const decoders = hasBody ? decodersFor(valuesOf(forward, 'content-encoding')) : [];
    if (decoders === undefined) return undefined;
    const maskers = new Maskers(this.#patterns);
    if (decoders.length === 0) return { headers: kept, body: new MaskedBody(response, length, maskers) };
    const plain = new MaskedBody(response, undefined, maskers);
    return { headers: withoutCoding(kept), body: new DecodedBody(plain, decoders, onBroken) };
  }

  text(value: string): string {
    if (value.length < this.#least || !this.#patterns.some((pattern) => pattern.mayBeIn(value))) return value;
    const maskers = new Maskers(this.#patterns);
    const masked = Buffer.concat([maskers.push(Buffer.from(value, 'latin1')), maskers.end()]);
    if (!maskers.hasMasked) return value;
    this.hasMasked = true;
    return masked.toString('latin1');
  }

  /** Names and values that are long enough are looked at in one go; only where something is found, one by one. */
  #maskValues(headers: string[]): string[] {
    let all = '';
    for (const text of headers) if (text.length >= this.#least && !isDate(text)) all += `${text}\n`;
    if (all === '' || this.text(all) === all) return headers;
    return headers.map((text) => this.text(text));
  }
}

/** Made for the first answer that there is: many tokens are used once, and some never. */
function patternOf(secret: Screened): Pattern {
  let pattern = patterns.get(secret);
  if (pattern === undefined) {
    pattern = new Pattern(secret.reveal());
    const oldest = made[next]?.deref();
    if (oldest !== undefined) patterns.delete(oldest);
    made[next] = new WeakRef(secret);
    next = (next + 1) % maxPatterns;
    patterns.set(secret, pattern);
  }
  return pattern;
}

/** The one long value that every answer has: its form leaves no room for anything else. */
function isDate(text: string): boolean {
  return text.length === 29 && /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(text);
}

/** Values of all headers of this lower-case name. */
function valuesOf(headers: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const found = headers[at] ?? '';
    if (found.length === name.length && found.toLowerCase() === name) values.push(headers[at + 1] ?? '');
  }
  return values;
}

function withoutCoding(headers: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? '';
    if (!ofTheCoding.has(name.toLowerCase())) kept.push(name, headers[at + 1] ?? '');
  }
  return kept;
}
