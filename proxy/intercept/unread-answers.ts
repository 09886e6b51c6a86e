import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** How long what was written to a connection may stand still because its client does not read, milliseconds. */
const unreadMs = 300_000;
/** How often it is looked for, milliseconds. */
const lookEveryMs = 10_000;

interface Followed {
  /** Bytes that had been taken of it at the last look. */
  takenBytes: number;
  /** Looks since then at which more was waiting and nothing had been taken. */
  looks: number;
}

/**
 * Ends connections of a server whose clients do not read what they asked for: no other limit of time holds while an answer is under way, and
 * with each stay what was asked behind it, and the call at the tool. Whoever reads slowly may go on.
 */
export function endUnread(server: Server): void {
  const open = new Map<Socket, Followed>();
  server.on('connection', (socket: Socket) => {
    // One whose CONNECT was challenged begins anew, and must not gather listeners by that.
    if (open.has(socket)) return;
    open.set(socket, { takenBytes: 0, looks: 0 });
    socket.once('close', () => open.delete(socket));
  });
  const timer = setInterval(() => {
    for (const [socket, followed] of open) look(socket, followed);
  }, lookEveryMs).unref();
  server.once('close', () => clearInterval(timer));
}

function look(socket: Socket, followed: Followed): void {
  const { writableLength: waiting } = socket;
  const takenBytes = socket.bytesWritten - waiting;
  if (waiting === 0 || takenBytes !== followed.takenBytes) {
    followed.takenBytes = takenBytes;
    followed.looks = 0;
    return;
  }
  followed.looks += 1;
  if (followed.looks >= unreadMs / lookEveryMs) socket.destroy();
}
