import type { World } from '../world.ts';
import type { Task } from './task.ts';
import type { TaskBook } from './task-book.ts';
import { WaitingLine } from './waiting-line.ts';

/** An answered task. It is forgotten when it ends before its time: how many wait is bounded by time only, how many are open is not. */
interface Waiting {
  task: Task | undefined;
  readonly queue: Queue;
}

/** What waits of one owner, oldest first; what is before `head` has ended. */
interface Queue {
  readonly owner: string;
  readonly waiting: Waiting[];
  head: number;
}

/** Places of what has ended, up to which a queue is not made shorter. */
const maxGone = 1024;

/**
 * Tasks whose request was answered: an agent may finish its calls just after its answer, so they stay open for a while. Where room is
 * needed they go first, those of the caller who needs it before all others: lingering is a courtesy, and must not turn honest requests
 * away.
 */
export class Lingering {
  readonly #book: TaskBook;
  readonly #line: WaitingLine<Waiting> | undefined;
  readonly #queues = new Map<string, Queue>();

  /** @param lingerMs With 0 a task ends with its answer. */
  constructor(book: TaskBook, lingerMs: number, world: World) {
    this.#book = book;
    if (lingerMs > 0) this.#line = new WaitingLine(lingerMs, world.monotonic, (waiting) => this.#end(waiting));
  }

  /** @param owner Whose share of the open tasks it takes. */
  add(task: Task, owner: string): void {
    let queue = this.#queues.get(owner);
    if (queue === undefined) {
      queue = { owner, waiting: [], head: 0 };
      this.#queues.set(owner, queue);
    }
    const waiting = { task, queue };
    queue.waiting.push(waiting);
    if (this.#line === undefined) this.#end(waiting);
    else this.#line.add(waiting);
  }

  /**
   * Ends one answered task before its time.
   * @param lack Whose room is missing: in a share that is full, the tasks of others are no help, and must not pay for it.
   */
  makeRoom(owner: string, lack: 'share' | 'book'): void {
    const own = this.#queues.get(owner);
    if ((own !== undefined && this.#endOldestOf(own)) || lack === 'share') return;
    for (const queue of this.#queues.values()) if (this.#endOldestOf(queue)) return;
  }

  /** Whether `makeRoom` would end one. Ends none. */
  hasRoomToMake(owner: string, lack: 'share' | 'book'): boolean {
    const own = this.#queues.get(owner);
    if (own !== undefined && this.#oldestOf(own) !== undefined) return true;
    if (lack === 'share') return false;
    for (const queue of this.#queues.values()) if (this.#oldestOf(queue) !== undefined) return true;
    return false;
  }

  /** Ends all of them: the sidecar stops, and they were answered. */
  endAll(): void {
    for (const queue of this.#queues.values()) while (this.#endOldestOf(queue));
  }

  #oldestOf(queue: Queue): Waiting | undefined {
    this.#forgetEnded(queue);
    return queue.waiting[queue.head];
  }

  #endOldestOf(queue: Queue): boolean {
    const oldest = this.#oldestOf(queue);
    if (oldest !== undefined) this.#end(oldest);
    return oldest !== undefined;
  }

  #end(waiting: Waiting): void {
    const { task, queue } = waiting;
    waiting.task = undefined;
    if (task?.state === 'open') this.#book.end(task.txn, 'completed', 'answered', 'request');
    this.#forgetEnded(queue);
  }

  #forgetEnded(queue: Queue): void {
    const { waiting, owner } = queue;
    while (queue.head < waiting.length && waiting[queue.head]?.task?.state !== 'open') queue.head += 1;
    if (queue.head === waiting.length) this.#queues.delete(owner);
    if (queue.head < maxGone) return;
    waiting.splice(0, queue.head);
    queue.head = 0;
  }
}
