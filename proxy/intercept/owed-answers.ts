import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** The answer that a connection is to carry now; undefined when all its requests are answered. */
export function answerOwed(socket: Socket): ServerResponse | undefined {
  return (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined;
}

/**
 * Does not let node:http close a connection behind its last answer: it would do so at once, whatever was not read yet. Says whether it was
 * to.
 */
export function keepBehind(owed: ServerResponse): boolean {
  const answer = owed as ServerResponse & { _last?: boolean };
  const isLast = answer._last === true;
  answer._last = false;
  return isLast;
}

/**
 * Lets the head of an answer, where it is not written yet, say that its connection ends behind it: a client that is told it stays open sends its
 * next request there, and cannot tell whether that was done.
 */
export function sayLast(owed: ServerResponse): void {
  if (owed.headersSent) return;
  owed.shouldKeepAlive = false;
  // With such a head, node:http would close the connection itself.
  owed.prependOnceListener('finish', () => keepBehind(owed));
}

/** Does it when the answers that are owed on a connection have gone out, or it is closed. */
export function afterAnswers(socket: Socket, then: () => void): void {
  const owed = answerOwed(socket);
  if (owed === undefined || socket.destroyed) then();
  else owed.once('close', () => afterAnswers(socket, then));
}

/**
 * Behind a CONNECT nobody reads any more, and a client that went away would not be noticed; nor does anybody tell an answer before it that
 * there is room again, and it would wait for ever.
 */
export function hearBehindConnect(socket: Socket): void {
  if (answerOwed(socket) === undefined) return;
  socket.on('drain', () => void answerOwed(socket)?.emit('drain'));
  socket.resume().once('end', () => socket.destroy());
}
