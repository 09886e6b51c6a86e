import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Refusal } from '../refusal.ts';
import type { WatchedStream } from './body-watch.ts';
import { leftPaused, watchPaused } from './paused-uploads.ts';

/** A body that goes on while it comes, read once. */
export interface BodyStream {
  readonly content: Readable;
  /** Bytes that whoever reads it has taken until now. */
  readonly taken: number;
}

/** How long an upload may stand still because nobody takes of it, milliseconds. */
const stalledMs = 300_000;

/**
 * A stream over the rest of a request. The request itself is never handed on: whoever destroys it destroys the agent's connection, and
 * with it the answer that says why.
 * @param first what came of the body until now.
 */
export function streamOf(
  request: IncomingMessage,
  first: readonly Buffer[],
  watched: WatchedStream,
  highWaterMark: number,
): BodyStream {
  let pushed = 0;
  const stream = new Readable({
    highWaterMark,
    read: () => {
      leftPaused(request);
      request.resume();
    },
    destroy: (error, done) => {
      request.off('data', onData);
      leftPaused(request);
      request.resume();
      done(error);
    },
  });
  const pushAll = (parts: readonly Buffer[]): boolean => {
    let hasRoom = true;
    for (const part of parts) {
      if (part.length === 0) continue;
      pushed += part.length;
      hasRoom = stream.push(part);
    }
    return hasRoom;
  };
  const onData = (chunk: Buffer): void => {
    const passes = watched.push(chunk);
    if (passes === undefined) stream.destroy(watched.refusal());
    else if (!pushAll(passes)) {
      request.pause();
      // A connection that is not read does not tell that the agent went away: without a look, such calls would gather.
      watchPaused(request, stalledMs, () => void stream.destroy(stalled()));
    }
  };
  const onEnd = (): void => {
    pushAll([watched.end()]);
    stream.push(null);
  };
  const onBroken = (): void => {
    if (!request.readableEnded) stream.destroy(new Error('the agent left before its body was complete'));
  };
  // It may be broken off before anybody reads it.
  stream.on('error', () => undefined);
  pushAll(first);
  // The end comes a moment after the last bytes: it may have passed since whoever read until now left, and is told once.
  if (request.readableEnded) onEnd();
  else if (request.destroyed) onBroken();
  else request.on('data', onData).on('end', onEnd).on('error', onBroken).on('close', onBroken);
  return {
    content: stream,
    get taken() {
      return pushed - stream.readableLength;
    },
  };
}

function stalled(): Refusal {
  return new Refusal('upstream_unreachable', 'The upload was broken off: nothing more of it was taken for 300 s.');
}
