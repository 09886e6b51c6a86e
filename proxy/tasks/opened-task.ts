import type { HandleBook } from './handle.ts';
import type { Task } from './task.ts';
import type { TraceMarks } from './trace-mark.ts';
import { UseCount } from './use-count.ts';

/** An open task with everything that names it. This is the one time that handles are told. */
export interface OpenedTask {
  readonly task: Task;
  /** Handle of the whole task; undefined for the standing one, and for a program that is shown none. */
  readonly handle: string | undefined;
  /** With `per_tool` also a handle for each tool: the orchestrator gives the agent these and keeps the other. */
  readonly handles: Readonly<Record<string, string>> | undefined;
  /** What its request carries in `tracestate`; undefined where no trace is to name it. */
  readonly mark: string | undefined;
}

/** What names tasks. */
interface Names {
  readonly handles: HandleBook;
  readonly marks: TraceMarks;
}

/** How many handles a task gets: none where nobody would be told them. */
export type HandleKind = 'one' | 'per_tool' | 'none';

/** Which names a task is to have. */
interface Naming {
  readonly handles: HandleKind;
  readonly traced?: boolean;
  /** How often each handle may be used. */
  readonly uses?: number | undefined;
}

/** Makes the names that a task is asked to have. */
export function nameTask(
  task: Task,
  { handles: kind, traced = false, uses }: Naming,
  { handles: book, marks }: Names,
): OpenedTask {
  if (task.standing) return { task, handle: undefined, handles: undefined, mark: undefined };
  const mark = traced ? marks.mint(task) : undefined;
  if (kind === 'none') return { task, handle: undefined, handles: undefined, mark };
  const mint = (tool?: string): string => book.mint(task, tool, uses === undefined ? undefined : new UseCount(uses));
  if (kind === 'one') return { task, handle: mint(), handles: undefined, mark };
  const handles = Object.fromEntries([...task.tools].map((tool) => [tool, mint(tool)]));
  return { task, handle: mint(), handles, mark };
}

/** Makes all of them tombstones. */
export function retireNames({ handle, handles, mark }: OpenedTask, { handles: book, marks }: Names): void {
  if (handle !== undefined) book.retire(handle);
  for (const name in handles) book.retire(handles[name] ?? '');
  if (mark !== undefined) marks.retire(mark);
}
