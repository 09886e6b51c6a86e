import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** The answer that a connection is to carry now; undefined when all its requests are answered. */
export function answerOwed(socket: Socket): ServerResponse | undefined {
  return (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined;
}

/** Does it when the answers that are owed on a connection have gone out, or it is closed. */
export function afterAnswers(socket: Socket, then: () => void): void {
  const owed = answerOwed(socket);
  if (owed === undefined || socket.destroyed) {
    then();
    return;
  }
  // Behind a CONNECT nobody tells an answer that there is room again, and it would wait for ever.
  const onDrain = (): void => void owed.emit('drain');
  socket.on('drain', onDrain);
  owed.once('close', () => {
    socket.off('drain', onDrain);
    afterAnswers(socket, then);
  });
}
