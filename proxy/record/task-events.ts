import type { Task } from '../tasks/task.ts';
import { timestampOf } from './event.ts';

const endOf = timestampOf();

/** The members of `task.opened`. Text by hand, as that of calls: on the way in every request opens a task. */
export function taskOpenedFields(task: Task, by: string): string {
  return `"event":"task.opened",${taskFields(task)},"by":"${by}","cause":"opened"`;
}

/** The members of `task.ended`. */
export function taskEndedFields(task: Task, by: string): string {
  const cause = task.cause === undefined ? '' : `,"cause":${JSON.stringify(task.cause)}`;
  return `"event":"task.ended",${taskFields(task)},"state":"${task.state}","by":"${by}"${cause}`;
}

const subjects = new WeakMap<Task['subject'], string>();

/** Rendered once for all tasks that share it: those of one caller's token do. What others chose is escaped. */
export function subjectFields(subject: Task['subject']): string {
  let known = subjects.get(subject);
  if (known === undefined) {
    const { iss, sub } = subject;
    known = `"subject":${JSON.stringify({ iss, sub })}`;
    subjects.set(subject, known);
  }
  return known;
}

const toolSets = new WeakMap<Task['tools'], string>();

function toolsField(tools: Task['tools']): string {
  let known = toolSets.get(tools);
  if (known === undefined) {
    known = `"tools":${JSON.stringify([...tools])}`;
    toolSets.set(tools, known);
  }
  return known;
}

/** A txn and whoever opens or ends a task are words of our own; a purpose is not. */
function taskFields({ txn, subject, purpose, tools, expiresAtMs, parent }: Task): string {
  let text = `"txn":"${txn}",${subjectFields(subject)},"purpose":${JSON.stringify(purpose)},${toolsField(tools)}`;
  if (Number.isFinite(expiresAtMs)) text += `,"expires_at":"${endOf(expiresAtMs)}"`;
  if (parent !== undefined) text += `,"parent":"${parent.txn}"`;
  return text;
}
