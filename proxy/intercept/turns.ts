import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { leftPaused, watchPaused } from './paused-uploads.ts';

/** Requests that may wait on one connection for those before them. */
const maxWaiting = 1024;
/** And bytes that they may hold together: their heads, and of a body as much as is read before it has a reader. */
const maxWaitingBytes = 4_194_304;
const bodyBytes = 65_536;

/** What waits on a connection. */
interface Waiting {
  count: number;
  bytes: number;
}
const waiting = new WeakMap<Socket, Waiting>();
const stopping = new WeakSet<object>();

/** Says that a server stops: what waits on its connections is not begun any more, as it would be cut half-done. */
export function stopBegins(server: object): void {
  stopping.add(server);
}

/** Whether that was said. */
export function isStopping(server: object): boolean {
  return stopping.has(server);
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
  const { socket } = request;
  // An answer has the connection when it is the next to go out.
  if (response.socket !== null) {
    // The connection ends behind the answer before it, whose request was still coming.
    if (stopping.has(server) && socket.writableEnded) request.resume();
    else turn.begin();
    return;
  }
  const held = waiting.get(socket) ?? { count: 0, bytes: 0 };
  const body = bodyOf(request);
  const bytes = request.rawHeaders.reduce((sum, text) => sum + text.length, request.url?.length ?? 0) + body;
  if (held.count >= maxWaiting || held.bytes + bytes > maxWaitingBytes) {
    if (!socket.destroyed) turn.onTooMany();
    socket.destroy();
    return;
  }
  waiting.set(socket, { count: held.count + 1, bytes: held.bytes + bytes });
  // Nobody reads its body yet, nor with it the connection: that its client left would not be heard.
  if (body > 0) watchPaused(request, Infinity, () => undefined);
  response.once('socket', () => {
    const before = waiting.get(socket) ?? { count: 1, bytes };
    waiting.set(socket, { count: before.count - 1, bytes: before.bytes - bytes });
    leftPaused(request);
    // Some versions of Node.js go on to the next although the answer could not be written.
    if (socket.destroyed) return;
    if (!stopping.has(server)) turn.begin();
    else {
      // Its client sees its connection end without an answer: nothing of it was done.
      socket.end();
      request.resume();
    }
  });
}

/** Bytes of its body that may be read while it waits. */
function bodyOf({ headers }: IncomingMessage): number {
  if (headers['transfer-encoding'] !== undefined) return bodyBytes;
  const length = Number(headers['content-length'] ?? 0);
  return length > 0 ? Math.min(length, bodyBytes) : 0;
}
