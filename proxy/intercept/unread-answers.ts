import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { endsOf, unreadQueues } from '../tasks/other-end.ts';

/** How long what was written to a connection may stand still because its client does not read, milliseconds. */
const unreadMs = 300_000;
/** How often it is looked for, milliseconds. */
const lookEveryMs = 10_000;

interface Followed {
  /** Bytes that had been taken of it at the last look. */
  takenBytes: number;
  /** What lay in the system then. */
  queues: string;
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
    open.set(socket, { takenBytes: 0, queues: '', looks: 0 });
    socket.once('close', () => open.delete(socket));
  });
  const timer = setInterval(() => lookAt(open), lookEveryMs).unref();
  server.once('close', () => clearInterval(timer));
}

function lookAt(open: ReadonlyMap<Socket, Followed>): void {
  const still = [...open].filter(([socket, followed]) => isStill(socket, followed));
  if (still.length === 0) return;
  // The system asks for more when a good part of its room is free: who reads some kilobytes a second is seen in its tables alone.
  const queuesOf = unreadQueues();
  for (const [socket, followed] of still) {
    const ends = endsOf(socket);
    const queues = ends === undefined ? '' : queuesOf(ends);
    followed.looks = queues === followed.queues ? followed.looks + 1 : 0;
    followed.queues = queues;
    if (followed.looks >= unreadMs / lookEveryMs) socket.destroy();
  }
}

/** Whether more waits and nothing was taken since the last look, as far as we know it ourselves. */
function isStill({ writableLength, bytesWritten }: Socket, followed: Followed): boolean {
  const takenBytes = bytesWritten - writableLength;
  if (writableLength > 0 && takenBytes === followed.takenBytes) return true;
  followed.takenBytes = takenBytes;
  followed.looks = 0;
  return false;
}
