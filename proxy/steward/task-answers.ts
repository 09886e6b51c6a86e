import type { OpenedTask } from '../tasks/opened-task.ts';
import type { PeerBinding } from '../tasks/peer-binding.ts';
import type { Task } from '../tasks/task.ts';
import type { EndedTask } from '../tasks/task-book.ts';

/** A task for listings: never a handle. */
export function describe(task: Task): Record<string, unknown> {
  return {
    txn: task.txn,
    state: task.state,
    subject: { iss: task.subject.iss, sub: task.subject.sub },
    purpose: task.purpose,
    tools: [...task.tools],
    opened_at: new Date(task.openedAtMs).toISOString(),
    expires_at: Number.isFinite(task.expiresAtMs) ? new Date(task.expiresAtMs).toISOString() : undefined,
    ended_at: task.endedAtMs === undefined ? undefined : new Date(task.endedAtMs).toISOString(),
    cause: task.cause,
    parent: task.parent?.txn,
    standing: task.standing ? true : undefined,
    uid: task.peer.uid,
    peer: describePeer(task.peer),
  };
}

/** The process that it is bound to, or is going to be by its first use; undefined where it is bound to none. */
function describePeer({ process, executable, descendants, fixes }: PeerBinding): Record<string, unknown> | undefined {
  if (process === undefined && executable === undefined && fixes === undefined) return undefined;
  return {
    pid: process?.pid,
    executable: process?.executable.path ?? executable,
    descendants: descendants ? true : undefined,
    first_use_fixes: fixes,
  };
}

/** The answer that hands the handles to their owner: the one place where they are told. */
export function describeOpened(opened: OpenedTask, outbound: string): Record<string, unknown> {
  return {
    ...describe(opened.task),
    handle: opened.handle,
    handles: opened.handles,
    proxy: opened.handle === undefined ? undefined : `http://task:${opened.handle}@${outbound}`,
  };
}

/** What ended with a task. */
export function describeEnded({ task, credentialsDropped, revocationsQueued }: EndedTask): Record<string, unknown> {
  const { txn, state } = task;
  return { txn, state, credentials_dropped: credentialsDropped, revocations_queued: revocationsQueued };
}
