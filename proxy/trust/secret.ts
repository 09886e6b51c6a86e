import { createHash } from 'node:crypto';

/** A text that cannot be printed: not by inspect, JSON, a template or a log (W8). `reveal` is the one, greppable way out. */
export class Secret {
  readonly #text: string;
  /** First 16 hex digits of the SHA-256 of the text: how people and events tell secrets apart. */
  readonly id: string;

  constructor(text: string) {
    this.#text = text;
    this.id = createHash('sha256').update(text).digest('hex').slice(0, 16);
  }

  /** The text itself; only for the wire it is meant for. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return `[secret ${this.id}]`;
  }

  toJSON(): string {
    return this.toString();
  }
}
