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

/** What the tasks of one subject and purpose say of themselves, as it was rendered last. */
interface Rendered {
  readonly purpose: string;
  readonly tools: Task['tools'];
  readonly text: string;
}

const rendered = new WeakMap<Task['subject'], Rendered>();

function grantFields({ subject, purpose, tools }: Task): string {
  let known = rendered.get(subject);
  if (known?.purpose !== purpose || known.tools !== tools) {
    const text = `${subjectFields(subject)},"purpose":${JSON.stringify(purpose)},"tools":${JSON.stringify([...tools])}`;
    known = { purpose, tools, text };
    rendered.set(subject, known);
  }
  return known.text;
}

/** A txn and whoever opens or ends a task are words of our own; a purpose is not. */
function taskFields(task: Task): string {
  const { txn, expiresAtMs, parent } = task;
  let text = `"txn":"${txn}",${grantFields(task)}`;
  if (Number.isFinite(expiresAtMs)) text += `,"expires_at":"${endOf(expiresAtMs)}"`;
  if (parent !== undefined) text += `,"parent":"${parent.txn}"`;
  return text;
}
