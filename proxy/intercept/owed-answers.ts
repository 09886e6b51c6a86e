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
