import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { OpenDecoder } from './decoding.ts';
import type { Maskers } from './masker.ts';

/** Where the bytes of an answer go on their way to the agent. */
export interface AnswerBody {
  /** Whether more may come at once; if not, `resume` is called when it may. */
  write(chunk: Buffer, resume: () => void): boolean;
  /** The tool has sent everything: `done` is called when the agent's side has all of it but the end, and but `last` (latin1). */
  end(done: (last: string) => void): void;
  /** Bytes that went to the agent. */
  readonly bytesOut: number;
  readonly hasMasked: boolean;
}

/** An answer up to this size goes out as one text with its head, in one write: two buffers for the system cost 4 us more. */
const maxWhole = 16_384;

/** Straight through: there is nothing that the agent must not see. */
export class OpenBody implements AnswerBody {
  readonly #response: ServerResponse;
  readonly #length: number | undefined;
  #whole = '';
  bytesOut = 0;
  readonly hasMasked = false;

  /** @param length what the answer says of itself; undefined: nothing. */
  constructor(response: ServerResponse, length: number | undefined) {
    this.#response = response;
    this.#length = length;
  }

  write(chunk: Buffer, resume: () => void): boolean {
    // The whole body at once: the parser says so right after it, and nobody waits for it meanwhile.
    if (chunk.length === this.#length && chunk.length <= maxWhole && this.bytesOut === 0) {
      this.bytesOut = chunk.length;
      this.#whole = chunk.toString('latin1');
      return true;
    }
    this.bytesOut += chunk.length;
    if (this.#response.write(chunk) || this.#response.destroyed) return true;
    this.#response.once('drain', resume);
    return false;
  }

  end(done: (last: string) => void): void {
    done(this.#whole);
  }
}

/** A plain answer of a tool with a credential: each chunk passes at once, with stars where the credential was. */
export class MaskedBody implements AnswerBody {
  readonly #maskers: Maskers;
  readonly #out: OpenBody;

  constructor(response: ServerResponse, length: number | undefined, maskers: Maskers) {
    this.#maskers = maskers;
    this.#out = new OpenBody(response, length);
  }

  get bytesOut(): number {
    return this.#out.bytesOut;
  }

  get hasMasked(): boolean {
    return this.#maskers.hasMasked;
  }

  write(chunk: Buffer, resume: () => void): boolean {
    const passes = this.#maskers.push(chunk);
    return passes.length === 0 || this.#out.write(passes, resume);
  }

  end(done: (last: string) => void): void {
    const rest = this.#maskers.end();
    if (rest.length > 0) this.#out.write(rest, () => undefined);
    this.#out.end(done);
  }
}

/** How a stream in zlib's format begins: what a coding below another one begins with is not known yet. */
const zlibStart = Buffer.of(0x78);

/** A compressed answer: it is taken apart, masked, and goes on plain. Memory stays bounded, whatever it unfolds to. */
export class DecodedBody implements AnswerBody {
  readonly #openers: readonly OpenDecoder[];
  readonly #body: MaskedBody;
  readonly #onBroken: () => void;
  #first: Duplex | undefined;
  #last: Duplex | undefined;
  /** The coding has an end of its own, and it was met. What a tool sends behind it is no part of the answer. */
  #isOver = false;
  /** Set while the tool waits for room. */
  #waiting: (() => void) | undefined;

  /** @param onBroken hears that the answer is not what its coding says; nothing follows then. */
  constructor(body: MaskedBody, openers: readonly OpenDecoder[], onBroken: () => void) {
    this.#body = body;
    this.#openers = openers;
    this.#onBroken = onBroken;
  }

  get bytesOut(): number {
    return this.#body.bytesOut;
  }

  get hasMasked(): boolean {
    return this.#body.hasMasked;
  }

  write(chunk: Buffer, resume: () => void): boolean {
    if (chunk.length === 0 || this.#isOver) return true;
    this.#first ??= this.#open(chunk);
    if (this.#first.destroyed || this.#first.write(chunk)) return true;
    this.#waiting = resume;
    return false;
  }

  end(done: (last: string) => void): void {
    if (this.#first === undefined || this.#last === undefined || this.#isOver) {
      this.#body.end(done);
      return;
    }
    this.#last.once('end', () => this.#body.end(done));
    this.#first.end();
  }

  #open(chunk: Buffer): Duplex {
    const decoders = this.#openers.map((open, index) => open(index === 0 ? chunk : zlibStart));
    for (const [index, decoder] of decoders.entries()) {
      decoder.on('error', () => {
        for (const one of decoders) one.destroy();
        this.#onBroken();
      });
      const next = decoders[index + 1];
      if (next !== undefined) decoder.pipe(next);
    }
    const [first] = decoders;
    const last = decoders.at(-1);
    if (first === undefined || last === undefined) throw new Error('a decoded body without a decoder');
    this.#last = last;
    first.on('drain', () => this.#goOn());
    // A decoder that is past the end of its coding takes nothing any more: who waited for it to drain would wait forever.
    last.once('end', () => {
      this.#isOver = true;
      this.#goOn();
    });
    last.on('data', (plain: Buffer) => {
      if (!this.#body.write(plain, () => last.resume())) last.pause();
    });
    return first;
  }

  #goOn(): void {
    const resume = this.#waiting;
    this.#waiting = undefined;
    resume?.();
  }
}
