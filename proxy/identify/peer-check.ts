import type { Socket } from 'node:net';
import { uidOf } from '../tasks/peer.ts';
import type { Task } from '../tasks/task.ts';

/** Whether a connection is of the user whose task it is. A user that cannot be told is nobody's. */
export function isForPeer(task: Task, socket: Socket): boolean {
  return task.uid === undefined || uidOf(socket) === task.uid;
}
