import { StoreUnfit } from './store-fault.ts';

/** How much the answers to a question may be. */
export interface AnswerSize {
  readonly bytes: number;
  /** Of all their lists together. */
  readonly items: number;
}

const oneLine = /^(?:(?<type>[$*])(?<length>-1|\d{1,9})|:-?\d{1,19}|[+-][^\r\n]*)\r\n$/;

/**
 * Reads along what a server answers (RESP 2), before the client's parser does. That one bounds nothing: it keeps a text until all of it has
 * come, and makes room for a list as soon as it is announced, so that twelve bytes take 256 MB and some hundred end the process.
 */
export class AnswerLimit {
  #leftBytes: number;
  #leftItems: number;
  /** Of a text and the end of its line, what has not come yet. */
  #textBytes = 0;
  #line = '';

  constructor({ bytes, items }: AnswerSize) {
    this.#leftBytes = bytes;
    this.#leftItems = items;
  }

  /** Begins to count anew. What has come in part goes on. */
  expect({ bytes, items }: AnswerSize): void {
    this.#leftBytes = bytes;
    this.#leftItems = items;
  }

  /** @throws StoreUnfit where it is more than was expected, or no answer. */
  check(chunk: Buffer): void {
    this.#leftBytes -= chunk.length;
    if (this.#leftBytes < 0) throw tooMuch();
    for (let at = 0; at < chunk.length;) {
      if (this.#textBytes > 0) {
        const passed = Math.min(this.#textBytes, chunk.length - at);
        this.#textBytes -= passed;
        at += passed;
        continue;
      }
      const end = chunk.indexOf('\n', at) + 1;
      this.#line += chunk.toString('latin1', at, end === 0 ? undefined : end);
      if (end === 0) return;
      this.#readLine();
      at = end;
    }
  }

  #readLine(): void {
    const found = oneLine.exec(this.#line)?.groups;
    this.#line = '';
    if (found === undefined) throw new StoreUnfit('its answer cannot be read');
    const length = Number(found['length'] ?? -1);
    if (length < 0) return;
    if (found['type'] === '*') this.#leftItems -= length;
    else this.#textBytes = length + 2;
    if (this.#leftItems < 0) throw tooMuch();
  }
}

function tooMuch(): StoreUnfit {
  return new StoreUnfit('its answer is longer than was asked for');
}
