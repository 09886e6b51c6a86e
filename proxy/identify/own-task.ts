import type { IncomingMessage } from 'node:http';
import { Refusal } from '../refusal.ts';
import type { Task } from '../tasks/task.ts';
import { HandleRefusal } from './handle-refusal.ts';
import { findHandle, type Ladder } from './ladder.ts';
import { checkPeer } from './peer-check.ts';

const places = ['authorization', 'x-api-key', 'proxy-authorization'] as const;

/**
 * The open task whose own handle a request to the sidecar itself carries; undefined where it carries none. A trace names no task here,
 * and the handle of a single tool is for calls of that tool. Throws a `Refusal` for a wrong handle, and for two tasks.
 */
export function findOwnTask({ headersDistinct, socket }: IncomingMessage, ladder: Ladder): Task | undefined {
  let found: Task | undefined;
  for (const value of places.flatMap((name) => headersDistinct[name] ?? [])) {
    const handle = findHandle(value, ladder.handles);
    if (handle === undefined) continue;
    const { task, tool } = handle;
    if (found !== undefined && found !== task) throw new Refusal('task_conflict');
    ladder.tasks.endOverdue(task);
    if (task.state !== 'open') throw new HandleRefusal('handle_ended', undefined, task);
    if (tool !== undefined)
      throw new HandleRefusal('handle_foreign_tool', `The handle was issued for calls to ${tool} only.`, task);
    checkPeer(task, socket);
    found = task;
  }
  return found;
}
