import type { Socket } from 'node:net';
import { departures, type Ends, endsOf } from '../tasks/departures.ts';

interface Paused {
  /** Asked for while it is open: a connection that was reset does not tell them. */
  readonly ends: Ends | undefined;
  /** Looks until it has stood still for too long. */
  looksLeft: number;
  readonly onStalled: () => void;
  /** Whether the last look found that it left. */
  isMissed: boolean;
}

const paused = new Map<Socket, Paused>();
/** How often it is looked who of the paused has left, milliseconds. */
const lookEveryMs = 2000;
let timer: NodeJS.Timeout | undefined;

/**
 * Watches a connection whose upload waits for the other side: while nobody reads from it, neither its end nor its reset is heard. Ends it
 * when who called has left, as far as this system tells that. Until `leftPaused`, or `forMs` have gone, which calls `onStalled`.
 */
export function watchPaused(socket: Socket, forMs: number, onStalled: () => void): void {
  paused.set(socket, { ends: endsOf(socket), looksLeft: Math.ceil(forMs / lookEveryMs), onStalled, isMissed: false });
  timer ??= setInterval(look, lookEveryMs).unref();
}

/** It is read from again. */
export function leftPaused(socket: Socket): void {
  if (!paused.delete(socket) || paused.size > 0) return;
  clearInterval(timer);
  timer = undefined;
}

/** One look for all. What changes while the tables are read can be missed in them, so that only the second look counts. */
function look(): void {
  const isDeparted = departures();
  for (const [socket, one] of paused) {
    one.looksLeft -= 1;
    const hasLeft = one.ends !== undefined && isDeparted(one.ends);
    if ((hasLeft && one.isMissed) || socket.destroyed) {
      leftPaused(socket);
      socket.destroy();
    } else if (one.looksLeft <= 0) {
      leftPaused(socket);
      one.onStalled();
    } else one.isMissed = hasLeft;
  }
}
