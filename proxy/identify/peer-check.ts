import type { Socket } from 'node:net';
import type { PeerFault } from '../tasks/peer-binding.ts';
import type { Task } from '../tasks/task.ts';
import { HandleRefusal } from './handle-refusal.ts';

/** Whether a connection is of whom the task is bound to. Who cannot be told is nobody. */
export function isForPeer(task: Task, socket: Socket): boolean {
  return task.peer.judge(socket) === undefined;
}

const details: Readonly<Record<PeerFault, string>> = {
  user: 'is bound to a user id that is not that of this connection.',
  process: 'is bound to another process than that of this connection.',
  executable: 'is bound to another executable than that of this connection.',
  unseen: 'is bound to a process, and that of this connection cannot be told.',
};

/** Nobody but the operator can mend that, and a wrong process would be told otherwise. */
const unseenHint =
  'Ask the owner of this sidecar: it needs the pid namespace of the agent, and its user or CAP_SYS_PTRACE. Its waybill doctor says what is missing.';

/** Refuses a connection that is not of whom the task is bound to. */
export function checkPeer(task: Task, socket: Socket, by: 'handle' | 'trace' = 'handle'): void {
  const fault = task.peer.judge(socket);
  if (fault === undefined) return;
  const what = by === 'handle' ? 'The handle' : 'The task that the trace of the call names';
  const hint = fault === 'unseen' ? unseenHint : undefined;
  throw new HandleRefusal('handle_foreign_peer', `${what} ${details[fault]}`, task, by, hint);
}
