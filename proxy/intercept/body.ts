import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Refusal } from '../refusal.ts';
import type { Call } from './call.ts';

/** Bodies up to this many bytes are collected: cheaper than streaming, can be sent twice, and malformed framing shows before anybody is asked. */
export const collectBytes = 65_536;
/** How long a chunked body is waited for before it is streamed, milliseconds: long enough for one that was sent in one go. */
const chunkedGraceMs = 25;
/** How long a declared small body may pause, milliseconds. */
const idleMs = 60_000;

/** The body of a call: none, collected, or a stream that is read once. What is proved is what is forwarded (W13). */
class ReadBody {
  readonly #content: Buffer | Readable | undefined;
  /** Bytes of a collected or declared body; undefined for a stream of unknown length. */
  readonly length: number | undefined;

  constructor(content: Buffer | Readable | undefined, length: number | undefined) {
    this.#content = content;
    this.length = length;
  }

  get content(): Buffer | Readable | undefined {
    return this.#content;
  }

  /** Whether it can be sent a second time after a challenge. */
  get isResendable(): boolean {
    return !(this.#content instanceof Readable);
  }
}

export type CallBody = ReadBody;

export const noBody: CallBody = new ReadBody(undefined, undefined);

/** Whether the request declares a body, by either framing. */
export function declaresBody(call: Call): boolean {
  return call.headers.chunked || (call.headers.contentLength ?? 0) > 0;
}

/**
 * Reads the body of a permitted call. Refuses `message_malformed` when its framing turns out to be broken before the first byte went
 * anywhere, and when the agent leaves or stalls.
 */
export async function readBody(call: Call): Promise<CallBody> {
  const { contentLength } = call.headers;
  // The agent waits for our word before it sends: it is said only now, after the call was permitted.
  if (call.headers.expectContinue) call.response.writeContinue();
  if (contentLength !== undefined && contentLength > collectBytes)
    return new ReadBody(streamOf(call.request, []), contentLength);
  const { chunks, ended } = await collect(call.request, contentLength === undefined ? chunkedGraceMs : idleMs);
  if (ended) {
    const whole = chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks);
    return new ReadBody(whole, whole.length);
  }
  if (contentLength !== undefined) throw new Refusal('message_malformed', 'The body did not arrive in time.');
  return new ReadBody(streamOf(call.request, chunks), undefined);
}

interface Collected {
  readonly chunks: Buffer[];
  readonly ended: boolean;
}

function collect(request: IncomingMessage, waitMs: number): Promise<Collected> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (ended: boolean): void => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('error', onBroken).off('close', onBroken);
      request.pause();
      resolve({ chunks, ended });
    };
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      size += chunk.length;
      if (size > collectBytes) finish(false);
    };
    const onEnd = (): void => finish(true);
    const onBroken = (): void => {
      clearTimeout(timer);
      reject(new Refusal('message_malformed', 'The body ended before it was complete.'));
    };
    const timer = setTimeout(() => finish(false), waitMs);
    request.on('data', onData).on('end', onEnd).on('error', onBroken).on('close', onBroken);
  });
}

/**
 * A stream over the rest of a request. The request itself is never handed on: whoever destroys it destroys the agent's connection, and
 * with it the answer that says why.
 */
function streamOf(request: IncomingMessage, first: readonly Buffer[]): Readable {
  const stream = new Readable({
    highWaterMark: collectBytes,
    read: () => void request.resume(),
    destroy: (error, done) => {
      request.off('data', onData);
      request.resume();
      done(error);
    },
  });
  const onData = (chunk: Buffer): void => {
    if (!stream.push(chunk)) request.pause();
  };
  const onBroken = (): void => {
    if (!request.readableEnded) stream.destroy(new Error('the agent left before its body was complete'));
  };
  for (const chunk of first) stream.push(chunk);
  request
    .on('data', onData)
    .on('end', () => stream.push(null))
    .on('error', onBroken)
    .on('close', onBroken);
  return stream;
}
