import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Server as RawServer, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { answerOwed, sayLast } from './owed-answers.ts';
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

/**
 * How long an idle connection is still read from when its server stops, milliseconds. A request may be on its way on it, or lie unread in the
 * system: if the connection ended at once, its client could not tell whether that was done.
 */
const lastRequestMs = 300;

/** Answers of servers that stop, which say that their connection ends and would not have said so. */
const announced = new WeakSet<ServerResponse>();

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
    if (!isStopping(server)) return;
    // Its head went out before the stop, and said that the connection stays open: the next request may be on its way.
    if (this.shouldKeepAlive && this.req.complete) setTimeout(setImmediate, lastRequestMs, endIdle, socket, known);
    else endBehindAnswer(socket, known);
  };
  const note = (request: IncomingMessage, response: ServerResponse): void => {
    const known = open.get(request.socket);
    if (known !== undefined) known.request = request;
    if (isStopping(server)) announceEnd(response);
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
 * Ends a server within `graceMs` after it took its last connection: idle connections after `lastRequestMs`, unless a request comes on
 * them; the others behind their answers. A request that is being received is still answered. Node.js itself ends a connection whose answer
 * is handed over and still lies in memory, and so cuts what a slow client reads.
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
  const lastMs = Math.min(lastRequestMs, graceMs);
  const open: ReadonlyMap<Socket, Known> = connections.get(server) ?? new Map();
  for (const socket of open.keys()) {
    const owed = answerOwed(socket);
    // Its client shall send no other request behind it. Where the request still comes, Node.js would cut the connection, and the answer.
    if (owed !== undefined && !owed.headersSent && owed.req.complete) announceEnd(owed);
  }
  await takeWaiting(listening, lastMs);
  // Only now, so that it cuts all that are there.
  const cut = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, graceMs);
  // Not the `close` of an HTTP server, for it begins with that.
  const closed = new Promise<void>((resolve) => void RawServer.prototype.close.call(listening, () => resolve()));
  await Promise.race([closed, sleep(lastMs, undefined, { ref: false })]);
  // A loop that has much to do looks at its timers before it reads what came in time.
  await nextTurn();
  for (const [socket, known] of open) endIdle(socket, known);
  await closed;
  clearTimeout(cut);
  for (const socket of sockets) socket.destroy();
  // Ends its watch over time-outs.
  server.close(() => undefined);
}

/**
 * Takes the connections that the system has let in already, until there are none, for at most `withinMs`. It would reset them when the
 * listener closes, with the requests that are on them. One is taken in each turn of the loop: behind a turn without one none waits.
 */
async function takeWaiting(listening: RawServer, withinMs: number): Promise<void> {
  const over = AbortSignal.timeout(withinMs);
  let hasCome = true;
  const onConnection = (): void => {
    hasCome = true;
  };
  listening.on('connection', onConnection);
  // The rest of the turn that the signal came in: the system was asked before.
  await nextTurn();
  while (hasCome && !over.aborted) {
    hasCome = false;
    await nextTurn();
  }
  listening.off('connection', onConnection);
}

/** Lets an answer say that its connection ends, as its server stops. */
function announceEnd(response: ServerResponse): void {
  if (response.shouldKeepAlive) announced.add(response);
  sayLast(response);
}

/**
 * Takes that back for a challenge: its client is to answer it on the connection that it came on. Elsewhere a nonce of this process is worth
 * nothing, and behind a balancer the call would be challenged anew at another replica.
 */
export function awaitAnother(response: ServerResponse): void {
  if (announced.has(response)) response.shouldKeepAlive = true;
}

/** Ends a connection on which no request is being received. */
function endIdle(socket: Socket, known: Known): void {
  const isReceiving = known.request?.complete !== false && socket.bytesRead > known.bytesRead + strayBytes;
  if (!isReceiving) endBehindAnswer(socket, known);
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
