import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { leftPaused, watchPaused } from './paused-uploads.ts';

/** Requests that may wait on one connection for those before them. */
const maxWaiting = 1024;

const waiting = new WeakMap<Socket, number>();
const stopping = new WeakSet<object>();

/** Says that a server stops: what waits on its connections is not begun any more, as it would be cut half-done. */
export function stopBegins(server: object): void {
  stopping.add(server);
}

/** What comes of a request. */
interface Turn {
  readonly begin: () => void;
  /** So many wait on its connection that it was closed: anybody could take all memory so. */
  readonly onTooMany: () => void;
}

/**
 * Does a request when those before it on its connection are answered. Clients may send several at once, and what changes something must be
 * done in the order in which it was asked (RFC 9112 9.3.2). What its client does not wait for is not begun.
 */
export function inTurn(server: object, request: IncomingMessage, response: ServerResponse, turn: Turn): void {
  // An answer has the connection when it is the next to go out.
  if (response.socket !== null) {
    turn.begin();
    return;
  }
  const { socket } = request;
  const count = (waiting.get(socket) ?? 0) + 1;
  if (count > maxWaiting) {
    if (!socket.destroyed) turn.onTooMany();
    socket.destroy();
    return;
  }
  waiting.set(socket, count);
  // Nobody reads its body yet, nor with it the connection: that its client left would not be heard.
  if (!request.complete) watchPaused(socket, Infinity, () => undefined);
  response.once('socket', () => {
    waiting.set(socket, (waiting.get(socket) ?? 1) - 1);
    leftPaused(socket);
    if (stopping.has(server)) socket.end();
    else turn.begin();
  });
}
