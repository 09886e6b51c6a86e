import { Refusal } from '../refusal.ts';
import type { Task } from '../tasks/task.ts';

/** The wrong use of something that names a known task: whose it is stands in the event. */
export class HandleRefusal extends Refusal {
  readonly task: Task;
  /** The rung on which it came. */
  readonly by: 'handle' | 'trace';

  constructor(
    code: 'handle_ended' | 'handle_foreign_tool' | 'handle_foreign_peer' | 'handle_spent',
    detail: string | undefined,
    task: Task,
    by: 'handle' | 'trace' = 'handle',
    hint?: string,
  ) {
    super(code, detail, undefined, hint);
    this.task = task;
    this.by = by;
  }
}
