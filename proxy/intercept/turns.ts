import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { leftPaused, watchPaused } from './paused-uploads.ts';

/** Requests that wait on one connection for those before them; with more, nothing more is read from it. */
const maxWaiting = 64;

const waiting = new WeakMap<Socket, number>();

/**
 * Does a request when those before it on its connection are answered. Clients may send several at once, and what changes something must be
 * done in the order in which it was asked (RFC 9112 9.3.2). What its client does not wait for is not begun.
 */
export function inTurn(socket: Socket, response: ServerResponse, begin: () => void): void {
  // An answer has the connection when it is the next to go out.
  if (response.socket !== null) {
    begin();
    return;
  }
  count(socket, 1);
  response.once('socket', () => {
    count(socket, -1);
    begin();
  });
}

function count(socket: Socket, by: number): void {
  const before = waiting.get(socket) ?? 0;
  const now = before + by;
  waiting.set(socket, now);
  if (before === maxWaiting && now > before) {
    socket.pause();
    watchPaused(socket, Infinity, () => undefined);
  } else if (now === maxWaiting && now < before) {
    leftPaused(socket);
    socket.resume();
  }
}
