import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Server as RawServer, type Socket } from 'node:net';
import { answerOwed } from './owed-answers.ts';
import { isStopping, stopBegins } from './turns.ts';

/** What is known of a connection that HTTP is read from. */
interface Known {
  /** The newest request on it. */
  request: IncomingMessage | undefined;
  /** Bytes that had come when its last answer was out: more are the head of another request, which is being received. */
  bytesRead: number;
}

/** An empty line behind a message is no part of the next (RFC 9112 2.2). */
const strayBytes = 2;

/** Connections of each server that HTTP is read from. */
const connections = new WeakMap<Server, Map<Socket, Known>>();

/** Knows the connections of a server from now on. Behind a CONNECT the connection is a tunnel, until HTTP is read from it again. */
export function followConnections(server: Server): void {
  const open = new Map<Socket, Known>();
  const heard = new WeakSet<Socket>();
  connections.set(server, open);
  server.on('connection', (socket: Socket) => {
    // Of some connections the first bytes were looked at and put back.
    open.set(socket, { request: undefined, bytesRead: socket.bytesRead - socket.readableLength });
    // One whose CONNECT was challenged begins anew, and must not gather listeners by that.
    if (heard.has(socket)) return;
    heard.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  server.on('connect', (_request, socket: Socket) => open.delete(socket));
  // One for all requests: each of them passes here.
  const onAnswered = function (this: ServerResponse): void {
    const { socket } = this.req;
    const known = open.get(socket);
    if (known === undefined) return;
    known.bytesRead = socket.bytesRead;
    if (isStopping(server)) endBehindAnswer(socket, known);
  };
  const note = (request: IncomingMessage, response: ServerResponse): void => {
    const known = open.get(request.socket);
    if (known !== undefined) known.request = request;
    response.once('close', onAnswered);
  };
  server.on('request', note).on('checkContinue', note).on('checkExpectation', note);
}

/**
 * Knows a connection that HTTP is not read from yet, as what it is to carry shows with its first bytes. Until they come it is idle.
 * @param bytesBefore how many came that are not of them.
 */
export function followSilent(server: Server, socket: Socket, bytesBefore: number): void {
  connections.get(server)?.set(socket, { request: undefined, bytesRead: bytesBefore });
  socket.once('close', () => connections.get(server)?.delete(socket));
}

/**
 * Ends a server within `graceMs`: idle connections at once, the others behind their answers; a request that is being received is still
 * answered. Node.js itself ends a connection whose answer is handed over and still lies in memory, and so cuts what a slow client reads.
 * @param listening who has the port; may be the same.
 * @param sockets all connections, those of tunnels too.
 */
export async function closeServer(
  server: Server,
  listening: RawServer,
  sockets: ReadonlySet<Socket>,
  graceMs: number,
): Promise<void> {
  stopBegins(server);
  // Not the `close` of an HTTP server, for it begins with that.
  const closed = new Promise<void>((resolve) => void RawServer.prototype.close.call(listening, () => resolve()));
  for (const [socket, known] of connections.get(server) ?? []) {
    const owed = answerOwed(socket);
    // Its client shall send no other request behind it. Where the request still comes, Node.js would cut the connection, and the answer.
    if (owed !== undefined && !owed.headersSent && owed.req.complete) owed.shouldKeepAlive = false;
    const isRead = known.request?.complete !== false;
    const isReceiving = isRead && socket.bytesRead > known.bytesRead + strayBytes;
    if (owed === undefined && !isReceiving) endBehindAnswer(socket, known);
  }
  const cut = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, graceMs);
  await closed;
  clearTimeout(cut);
  for (const socket of sockets) socket.destroy();
  // Ends its watch over time-outs.
  server.close(() => undefined);
}

/** Ends a connection that owes nothing more. What its client still sends is read: a reset would overtake the answer. */
function endBehindAnswer(socket: Socket, { request }: Known): void {
  if (answerOwed(socket) !== undefined) return;
  if (request === undefined || request.complete) {
    socket.destroySoon();
    return;
  }
  socket.end();
  request.once('end', () => socket.destroySoon()).resume();
}
