import type { World } from '../world.ts';
import type { CutOffs } from './cut-offs.ts';
import { Deadlines, type Timed } from './deadlines.ts';
import { HandleBook } from './handle.ts';
import { nameTask, retireNames, type HandleKind, type OpenedTask } from './opened-task.ts';
import { bindPeer, type AgentPeer, type PeerTerms } from './peer-binding.ts';
import { Recent } from './recent.ts';
import { TaskRejected } from './task-rejected.ts';
import { Task, type TaskChain, type TaskGrant, type TaskState, type TaskSubject, type TaskTxnToken } from './task.ts';
import { TraceMarks } from './trace-mark.ts';

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
  readonly tools: ReadonlySet<string>;
  readonly handles: HandleKind;
  /** Whether a trace may name it (rung 3). */
  readonly traced?: boolean;
  /** How often each handle may be used; undefined: as often as one likes. */
  readonly uses?: number | undefined;
  /** Who may call in it; what is left out is that of the parent, else what the configuration says. */
  readonly peer?: PeerTerms;
  /** Milliseconds from now; Infinity only for the standing task. */
  readonly lifeMs: number;
  readonly parent?: string | undefined;
  readonly standing?: boolean;
  readonly caller?: string;
  /** When the token was issued that it is opened with, or without one the caller's certificate. Undefined: not known. */
  readonly issuedAtMs?: number | undefined;
  /** When the certificate of its caller was issued, where there is one. */
  readonly callerIssuedAtMs?: number | undefined;
  readonly chain?: TaskChain | undefined;
  readonly txnToken?: TaskTxnToken | undefined;
  /** Whose share of the open tasks it takes, and how many that may be: one caller must not fill the book for the others. */
  readonly share?: { readonly owner: string; readonly max: number } | undefined;
  /** Who opened it: `operator_api`, `config`. */
  readonly by: string;
  /** Takes what opens one task only, when nothing else can refuse it any more; throws to refuse it. */
  readonly spend?: () => void;
}

export interface EndedTask {
  readonly task: Task;
  readonly credentialsDropped: number;
  readonly revocationsQueued: number;
}

/** Ended tasks that are remembered for listing. */
const maxEnded = 5000;

/** An open task, with what is let go when it ends. */
interface Held extends Timed {
  /** Whose share it takes, if anybody's. */
  readonly owner: string | undefined;
  /** Open sub-tasks; most tasks have none. */
  children: Set<Task> | undefined;
}

/** The tasks of this process, open and lately ended, and their handles. */
export class TaskBook {
  readonly handles: HandleBook;
  readonly marks: TraceMarks;
  readonly #world: World;
  readonly #ending: TaskEnding;
  readonly #cutOffs: CutOffs;
  readonly #maxOpen: number;
  readonly #agent: AgentPeer;
  readonly #open = new Map<string, Held>();
  readonly #ended = new Recent<Task>(maxEnded);
  /** Open tasks by the owner of their share. */
  readonly #shares = new Map<string, number>();
  readonly #deadlines: Deadlines;

  constructor(world: World, maxOpen: number, ending: TaskEnding, cutOffs: CutOffs, agent: AgentPeer) {
    this.#world = world;
    this.#cutOffs = cutOffs;
    this.#maxOpen = maxOpen;
    this.#agent = agent;
    this.#ending = ending;
    this.handles = new HandleBook(world.random);
    this.marks = new TraceMarks(world.random);
    this.#deadlines = new Deadlines(world, ({ txn }) => this.end(txn, 'expired', 'deadline', 'deadline'));
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Whether what is known of revocations is all that there is: else no task opens. */
  get isCurrent(): boolean {
    return this.#cutOffs.isCurrent;
  }

  /** Where there is no room for one more: in the share of its owner, or in the whole book. Undefined where it may be opened. */
  lackFor({ share }: Pick<TaskRequest, 'share'>): 'share' | 'book' | undefined {
    if (share !== undefined && (this.#shares.get(share.owner) ?? 0) >= share.max) return 'share';
    return this.#open.size >= this.#maxOpen ? 'book' : undefined;
  }

  open(request: TaskRequest): OpenedTask {
    const { share, standing = false } = request;
    const objection = this.#cutOffs.objectionTo(request);
    if (objection !== undefined) throw new TaskRejected(objection, 'revoked, or what was revoked is not known');
    if (this.lackFor(request) !== undefined)
      throw new TaskRejected(
        'too_many',
        'as many tasks as may be are open already (tasks.max_open; a quarter of it for a caller)',
      );
    const parent = this.#findParent(request.parent);
    const now = this.#world.now();
    const ends = [now + request.lifeMs, parent?.expiresAtMs ?? Infinity, request.chain?.expiresAtMs ?? Infinity];
    // A task ends no later than the delegation that it was opened with.
    const expiresAtMs = Math.min(...ends);
    if (expiresAtMs <= now) throw new TaskRejected('deadline', 'the task would be over before it began');
    request.spend?.();
    const task = new Task({
      // Hex: in base64url one in 64 begins with "-", which a command line takes for an option.
      txn: this.#world.random(16).toString('hex'),
      subject: request.subject,
      grant: request.grant,
      purpose: request.purpose,
      tools: parent === undefined ? request.tools : request.tools.intersection(parent.tools),
      openedAtMs: now,
      issuedAtMs: request.issuedAtMs,
      expiresAtMs,
      parent,
      standing,
      caller: request.caller ?? '',
      chain: request.chain,
      // A sub-task is part of the transaction of its parent.
      txnToken: request.txnToken ?? parent?.txnToken,
      callerIssuedAtMs: request.callerIssuedAtMs,
      peer: bindPeer(request.peer ?? {}, parent?.peer, this.#agent, standing),
      closedTools: this.#cutOffs.closedTools(request.tools, request.issuedAtMs),
    });
    const opened = nameTask(task, request, this);
    const held: Held = {
      opened,
      owner: share?.owner,
      endsAt: undefined,
      deadline: undefined,
      young: undefined,
      children: undefined,
    };
    this.#open.set(task.txn, held);
    this.#deadlines.watch(held);
    if (parent !== undefined) this.#adopt(parent, task);
    if (share !== undefined) this.#shares.set(share.owner, (this.#shares.get(share.owner) ?? 0) + 1);
    this.#ending.recordOpened(task, request.by);
    return opened;
  }

  /** Ends a task whose deadline has passed while nobody looked: the machine may have slept, and its timers with it. */
  endOverdue(task: Task): void {
    this.#deadlines.check(task);
  }

  find(txn: string): Task | undefined {
    const held = this.#open.get(txn);
    if (held !== undefined) this.endOverdue(held.opened.task);
    return this.#open.get(txn)?.opened.task ?? this.#findEnded(txn);
  }

  /** Open tasks first, each group in order of opening. */
  list(): readonly Task[] {
    for (const { opened } of this.#open.values()) this.endOverdue(opened.task);
    return [...[...this.#open.values()].map(({ opened }) => opened.task), ...this.#ended.values()];
  }

  /**
   * Ends an open task and its sub-tasks. Throws `TaskRejected` when there is none of that name or it is over.
   * @param sparing whoever called on the way in, and has had nothing of an answer yet, may get one.
   */
  end(txn: string, state: Exclude<TaskState, 'open'>, cause: string, by: string, sparing = false): EndedTask {
    const held = this.#open.get(txn);
    if (held === undefined) {
      throw this.#findEnded(txn) !== undefined
        ? new TaskRejected('not_open', 'the task has ended already')
        : new TaskRejected('not_found', 'there is no such task');
    }
    let [credentialsDropped, revocationsQueued] = [0, 0];
    for (const each of this.#familyOf(held)) {
      const { task } = each.opened;
      this.#deadlines.forget(each);
      this.#open.delete(task.txn);
      if (task.parent !== undefined) this.#open.get(task.parent.txn)?.children?.delete(task);
      this.#giveBack(each.owner);
      task.end(state, each === held ? cause : 'parent_ended', this.#world.now(), sparing);
      retireNames(each.opened, this);
      this.#ended.add(task.txn, task);
      const taken = this.#ending.takeBack(task);
      this.#ending.recordEnded(task, by);
      credentialsDropped += taken.dropped;
      revocationsQueued += taken.revocations_queued;
    }
    return { task: held.opened.task, credentialsDropped, revocationsQueued };
  }

  /** A task behind all its sub-tasks. No recursion: who nests them by the thousand would have a task that nothing ends. */
  #familyOf(held: Held): readonly Held[] {
    const family = [held];
    for (const { children } of family) {
      const found = [...(children ?? [])].map(({ txn }) => this.#open.get(txn));
      family.push(...found.filter((child) => child !== undefined));
    }
    return family.toReversed();
  }

  /** Ends everything: the sidecar stops. */
  endAll(cause: string): void {
    const open = this.list().filter((task) => task.state === 'open');
    // A sub-task may have ended with its parent meanwhile.
    for (const task of open) if (this.#open.has(task.txn)) this.end(task.txn, 'failed', cause, 'sidecar');
  }

  /** Of a text that only looks the same to the memory of ended tasks there is none. */
  #findEnded(txn: string): Task | undefined {
    const task = this.#ended.get(txn);
    return task?.txn === txn ? task : undefined;
  }

  #adopt(parent: Task, child: Task): void {
    const held = this.#open.get(parent.txn);
    if (held !== undefined) (held.children ??= new Set()).add(child);
  }

  #giveBack(owner: string | undefined): void {
    if (owner === undefined) return;
    const left = (this.#shares.get(owner) ?? 1) - 1;
    if (left <= 0) this.#shares.delete(owner);
    else this.#shares.set(owner, left);
  }

  #findParent(txn: string | undefined): Task | undefined {
    if (txn === undefined) return undefined;
    const parent = this.#open.get(txn)?.opened.task;
    if (parent === undefined) throw new TaskRejected('parent_not_open', 'the parent task is not open');
    return parent;
  }
}
