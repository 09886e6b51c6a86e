import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { Refusal } from '../refusal.ts';
import { type BodyStream, streamOf } from './body-stream.ts';
import { type BodyWatch, WatchedStream } from './body-watch.ts';
import type { Call } from './call.ts';

/** Bodies up to this many bytes are collected: cheaper than streaming, can be sent twice, and malformed framing shows before anybody is asked. */
export const collectBytes = 65_536;
/** How long a chunked or a long body is waited for before it is streamed, milliseconds: long enough for one that was sent in one go. */
const chunkedGraceMs = 25;
/** How long a body that has to be whole may take, milliseconds. */
const wholeMs = 60_000;
/** How much of a body is collected where its digest has to be compared before it is forwarded (DESIGN 12). */
const digestedBytes = 1_048_576;

/** The body of a call: none, collected, or a stream that is read once. What is proved is what is forwarded (W13). */
class ReadBody {
  readonly #whole: Buffer | undefined;
  readonly #stream: BodyStream | undefined;
  /** Bytes of a collected or declared body; undefined for a stream of unknown length. */
  readonly length: number | undefined;

  constructor(whole: Buffer | undefined, stream: BodyStream | undefined, length: number | undefined) {
    this.#whole = whole;
    this.#stream = stream;
    this.length = length;
  }

  get content(): Buffer | Readable | undefined {
    return this.#stream?.content ?? this.#whole;
  }

  /** Bytes that were forwarded, or that can be sent at once. */
  get handedOn(): number {
    return this.#stream?.taken ?? this.#whole?.length ?? 0;
  }

  /** Why a stream was broken off by us, where it was. */
  get refusal(): Refusal | undefined {
    const broken = this.#stream?.content.errored;
    return broken instanceof Refusal ? broken : undefined;
  }

  /** Whether it can be sent a second time after a challenge. */
  get isResendable(): boolean {
    return this.#stream === undefined;
  }
}

export type CallBody = ReadBody;

export const noBody: CallBody = new ReadBody(undefined, undefined, undefined);

/** Whether the request declares a body, by either framing. */
export function declaresBody(call: Call): boolean {
  return call.headers.chunked || (call.headers.contentLength ?? 0) > 0;
}

/**
 * Reads the body of a permitted call. Refuses `message_malformed` when its framing turns out to be broken before the first byte went
 * anywhere, and when the agent leaves or stalls; as the watch says when something is in it that must not leave. A longer body is watched while
 * it streams, and broken off.
 * @param whole Whether nothing may be forwarded before all of it is here, since a digest is to be compared: refuses `body_too_large`.
 */
export async function readBody(call: Call, whole: boolean, watch: BodyWatch): Promise<CallBody> {
  const { contentLength } = call.headers;
  const limit = whole ? digestedBytes : collectBytes;
  if (whole && (contentLength ?? 0) > limit) throw tooLarge();
  // The agent waits for our word before it sends: it is said only now, after the call was permitted. One that speaks
  // HTTP/1.0 would take it for the answer (RFC 9110 10.1.1).
  if (call.headers.expectContinue && call.request.httpVersion === '1.1') call.response.writeContinue();
  const isLong = contentLength !== undefined && contentLength > limit;
  const waitMs = (contentLength === undefined || isLong) && !whole ? chunkedGraceMs : wholeMs;
  const { chunks, size, ended } = await collect(call.request, waitMs, limit);
  if (ended) {
    const content = chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks);
    if (watch.isIn(content)) throw watch.refusal();
    return new ReadBody(content, undefined, content.length);
  }
  if (whole && size > limit) throw tooLarge();
  if ((contentLength !== undefined && !isLong) || whole)
    throw new Refusal('message_malformed', 'The body did not arrive in time.');
  const watched = new WatchedStream(watch);
  // What came until now is judged before anybody is asked for anything.
  const first = watched.push(Buffer.concat(chunks));
  if (first === undefined) throw watch.refusal();
  return new ReadBody(undefined, streamOf(call.request, first, watched, collectBytes), contentLength);
}

function tooLarge(): Refusal {
  return new Refusal('body_too_large', 'A body with a digest is taken up to 1 MiB.');
}

interface Collected {
  readonly chunks: Buffer[];
  readonly size: number;
  readonly ended: boolean;
}

function collect(request: IncomingMessage, waitMs: number, limit: number): Promise<Collected> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (ended: boolean): void => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('error', onBroken).off('close', onBroken);
      request.pause();
      resolve({ chunks, size, ended });
    };
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      size += chunk.length;
      if (size > limit) finish(false);
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
