import type { Server } from 'node:http';
import { Server as RawServer, type Socket } from 'node:net';
import { answerOwed } from './owed-answers.ts';
import { stopBegins } from './turns.ts';

/** Connections of each server that HTTP is read from. */
const connections = new WeakMap<Server, Set<Socket>>();

/** Knows the connections of a server from now on. Behind a CONNECT the connection is a tunnel, until HTTP is read from it again. */
export function followConnections(server: Server): void {
  const open = new Set<Socket>();
  const known = new WeakSet<Socket>();
  connections.set(server, open);
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    // One whose CONNECT was challenged begins anew, and must not gather listeners by that.
    if (known.has(socket)) return;
    known.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  server.on('connect', (_request, socket: Socket) => open.delete(socket));
}

/**
 * Ends a server within `graceMs`: nothing is begun any more, connections without an answer that is owed end at once, the others behind
 * it. Node.js itself ends a connection whose answer is handed over and still lies in memory, and so cuts what a slow client reads.
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
  for (const socket of connections.get(server) ?? []) {
    if (answerOwed(socket) === undefined) socket.destroy();
    else endBehindAnswer(socket);
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

function endBehindAnswer(socket: Socket): void {
  const owed = answerOwed(socket);
  if (owed === undefined) socket.destroySoon();
  else owed.once('close', () => endBehindAnswer(socket));
}
