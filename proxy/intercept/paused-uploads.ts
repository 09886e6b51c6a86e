import type { IncomingMessage } from 'node:http';
import { departures, type Ends, endsOf } from '../tasks/other-end.ts';

interface Paused {
  /** Asked for while it is open: a connection that was reset does not tell them. */
  readonly ends: Ends | undefined;
  /** Looks until it has stood still for too long. */
  looksLeft: number;
  readonly onStalled: () => void;
  /** Whether the last look found that it left. */
  isMissed: boolean;
}

/** By request: on one connection several can be paused, each for its own reason. */
const paused = new Map<IncomingMessage, Paused>();
/** How often it is looked who of the paused has left, milliseconds. */
const lookEveryMs = 2000;
let timer: NodeJS.Timeout | undefined;

/**
 * Watches a request whose body waits for the other side: while nobody reads from its connection, neither the end of that nor its reset is
 * heard. Ends it when who called has left, as far as this system tells that. Until `leftPaused`, or `forMs` have gone, which calls
 * `onStalled`.
 */
export function watchPaused(request: IncomingMessage, forMs: number, onStalled: () => void): void {
  const ends = endsOf(request.socket);
  paused.set(request, { ends, looksLeft: Math.ceil(forMs / lookEveryMs), onStalled, isMissed: false });
  timer ??= setInterval(look, lookEveryMs).unref();
}

/** It is read from again. */
export function leftPaused(request: IncomingMessage): void {
  if (!paused.delete(request) || paused.size > 0) return;
  clearInterval(timer);
  timer = undefined;
}

/** One look for all. What changes while the tables are read can be missed in them, so that only the second look counts. */
function look(): void {
  const isDeparted = departures();
  for (const [request, one] of paused) {
    one.looksLeft -= 1;
    const hasLeft = one.ends !== undefined && isDeparted(one.ends);
    if ((hasLeft && one.isMissed) || request.socket.destroyed) {
      leftPaused(request);
      request.socket.destroy();
    } else if (one.looksLeft <= 0) {
      leftPaused(request);
      one.onStalled();
    } else one.isMissed = hasLeft;
  }
}
