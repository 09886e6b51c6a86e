import type { World } from '../world.ts';
import { HandleBook } from './handle.ts';
import { Task, type TaskGrant, type TaskState, type TaskSubject } from './task.ts';

/** Why a task could not be opened or ended; for the operator's API. */
export class TaskRejected extends Error {
  readonly reason: 'too_many' | 'parent_not_open' | 'not_found' | 'not_open' | 'deadline';

  constructor(reason: TaskRejected['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** What ends with a task: told in this order, before the answer to whoever ended it. */
export interface TaskEnding {
  /** Takes the task's credentials back: dropped from the cache at once, revoked at their issuers. */
  takeBack(task: Task): { readonly dropped: number; readonly revocations_queued: number };
  recordOpened(task: Task, by: string): void;
  recordEnded(task: Task, by: string): void;
}

export interface TaskRequest {
  readonly subject: TaskSubject;
  readonly grant: TaskGrant | undefined;
  readonly purpose: string;
  readonly tools: readonly string[];
  readonly perToolHandles: boolean;
  /** Milliseconds from now; Infinity only for the standing task. */
  readonly lifeMs: number;
  readonly parent?: string | undefined;
  readonly standing?: boolean;
  /** Who opened it: `operator_api`, `config`. */
  readonly by: string;
}

export interface OpenedTask {
  readonly task: Task;
  /** Handle of the whole task, undefined for the standing one. This is the one time that handles are told. */
  readonly handle: string | undefined;
  /** With `per_tool` also a handle for each tool: the orchestrator gives the agent these and keeps the other. */
  readonly handles: Readonly<Record<string, string>> | undefined;
}

export interface EndedTask {
  readonly task: Task;
  readonly credentialsDropped: number;
  readonly revocationsQueued: number;
}

/** Ended tasks that are remembered for listing. */
const maxEnded = 5000;

/** The tasks of this process, open and lately ended, and their handles. */
export class TaskBook {
  readonly handles: HandleBook;
  readonly #world: World;
  readonly #ending: TaskEnding;
  readonly #maxOpen: number;
  readonly #open = new Map<string, Task>();
  readonly #ended = new Map<string, Task>();
  readonly #timers = new Map<Task, NodeJS.Timeout>();

  constructor(world: World, maxOpen: number, ending: TaskEnding) {
    this.#world = world;
    this.#maxOpen = maxOpen;
    this.#ending = ending;
    this.handles = new HandleBook(world.random);
  }

  get openCount(): number {
    return this.#open.size;
  }

  open(request: TaskRequest): OpenedTask {
    if (this.#open.size >= this.#maxOpen)
      throw new TaskRejected('too_many', `${this.#maxOpen} tasks are open already (tasks.max_open)`);
    const parent = this.#findParent(request.parent);
    const now = this.#world.now();
    const expiresAtMs = Math.min(now + request.lifeMs, parent?.expiresAtMs ?? Infinity);
    if (expiresAtMs <= now) throw new TaskRejected('deadline', 'the task would be over before it began');
    const task = new Task({
      // Hex: in base64url one in 64 begins with "-", which a command line takes for an option.
      txn: this.#world.random(16).toString('hex'),
      subject: request.subject,
      grant: request.grant,
      purpose: request.purpose,
      tools: new Set(parent === undefined ? request.tools : request.tools.filter((name) => parent.tools.has(name))),
      openedAtMs: now,
      expiresAtMs,
      parent,
      standing: request.standing === true,
    });
    this.#open.set(task.txn, task);
    if (Number.isFinite(expiresAtMs)) this.#armDeadline(task, expiresAtMs - now);
    this.#ending.recordOpened(task, request.by);
    return this.#withHandles(task, request.perToolHandles);
  }

  find(txn: string): Task | undefined {
    return this.#open.get(txn) ?? this.#ended.get(txn);
  }

  /** Open tasks first, each group in order of opening. */
  list(): readonly Task[] {
    return [...this.#open.values(), ...this.#ended.values()];
  }

  /** Ends an open task and its sub-tasks. Throws `TaskRejected` when there is none of that name or it is over. */
  end(txn: string, state: Exclude<TaskState, 'open'>, cause: string, by: string): EndedTask {
    const task = this.#open.get(txn);
    if (task === undefined) {
      throw this.#ended.has(txn)
        ? new TaskRejected('not_open', 'the task has ended already')
        : new TaskRejected('not_found', 'there is no such task');
    }
    let total: EndedTask = { task, credentialsDropped: 0, revocationsQueued: 0 };
    for (const child of [...this.#open.values()].filter((other) => other.parent === task)) {
      total = added(total, this.end(child.txn, state, 'parent_ended', by));
    }
    clearTimeout(this.#timers.get(task));
    this.#timers.delete(task);
    this.#open.delete(txn);
    task.end(state, cause, this.#world.now());
    this.handles.retire(task);
    this.#ended.set(txn, task);
    if (this.#ended.size > maxEnded) this.#ended.delete(this.#ended.keys().next().value ?? txn);
    const taken = this.#ending.takeBack(task);
    this.#ending.recordEnded(task, by);
    return added(total, { task, credentialsDropped: taken.dropped, revocationsQueued: taken.revocations_queued });
  }

  /** Ends everything: the sidecar stops. */
  endAll(cause: string): void {
    const open = this.list().filter((task) => task.state === 'open');
    // A sub-task may have ended with its parent meanwhile.
    for (const task of open) if (this.#open.has(task.txn)) this.end(task.txn, 'failed', cause, 'sidecar');
  }

  #findParent(txn: string | undefined): Task | undefined {
    if (txn === undefined) return undefined;
    const parent = this.#open.get(txn);
    if (parent === undefined) throw new TaskRejected('parent_not_open', 'the parent task is not open');
    return parent;
  }

  #withHandles(task: Task, perTool: boolean): OpenedTask {
    if (task.standing) return { task, handle: undefined, handles: undefined };
    if (!perTool) return { task, handle: this.handles.mint(task, undefined), handles: undefined };
    const handles = Object.fromEntries([...task.tools].map((tool) => [tool, this.handles.mint(task, tool)]));
    return { task, handle: this.handles.mint(task, undefined), handles };
  }

  #armDeadline(task: Task, inMs: number): void {
    const timer = setTimeout(() => {
      if (task.state === 'open') this.end(task.txn, 'expired', 'deadline', 'deadline');
    }, inMs);
    timer.unref();
    this.#timers.set(task, timer);
  }
}

function added(a: EndedTask, b: EndedTask): EndedTask {
  return {
    task: a.task,
    credentialsDropped: a.credentialsDropped + b.credentialsDropped,
    revocationsQueued: a.revocationsQueued + b.revocationsQueued,
  };
}
