import type { CutOffs, Revocations } from '../tasks/cut-offs.ts';
import { concerns, type Principal } from '../tasks/principals.ts';
import { TxnParts } from '../tasks/revoked-txns.ts';
import type { Task } from '../tasks/task.ts';
import type { TaskBook } from '../tasks/task-book.ts';
import type { World } from '../world.ts';
import { Problem } from './problem.ts';
import type { Revocable, RevokeRequest } from './revoke-request.ts';

/** Port: takes the credentials of one tool out of use and back to their issuers, in all tasks. */
export interface ToolCustody {
  dropTool(tool: string, cause: 'revoked'): { readonly dropped: number };
}

/** What a revocation came to. */
export interface Revoked {
  /** Tasks that were open and have ended. */
  readonly tasks: number;
  /** Credentials that were in use and are not any more. */
  readonly credentials: number;
}

/** What was revoked at another sidecar, and when, in milliseconds since the epoch. */
export interface RevokedElsewhere {
  readonly what: Revocable;
  readonly atMs: number;
}

/** Port: what the record is told of a revocation. */
export interface RevocationTrail {
  principalRevoked(what: Revocable, reason: string, by: string, beforeMs: number | undefined, came: Revoked): void;
}

export interface KillSwitchParts {
  readonly book: TaskBook;
  readonly cutOffs: CutOffs;
  readonly custody: ToolCustody;
  /** Names of the tools that take a credential, and of those that do not. */
  readonly tools: readonly { readonly name: string; readonly credentialed: boolean }[];
  readonly trail: RevocationTrail;
  readonly world: World;
  /** Keeps the revocations for a restart; throws where that fails. */
  readonly keep: (revocations: Revocations) => void;
  /** Whether other sidecars hear of it. */
  readonly isShared: boolean;
}

/** Takes a principal out at once: what is open ends, what it held goes back, and what was issued to it before opens nothing more. */
export class KillSwitch {
  readonly #parts: KillSwitchParts;
  #onRevoked: () => void = () => undefined;

  constructor(parts: KillSwitchParts) {
    this.#parts = parts;
  }

  /** Who tells the other sidecars: called when there is something to tell, whatever becomes of the file. */
  onRevoked(listener: () => void): void {
    this.#onRevoked = listener;
  }

  /** Throws a `Problem`, or `TaskRejected` for a task that is not open here and can be nowhere else. */
  revoke({ what, reason, beforeMs }: RevokeRequest, by: string): Revoked {
    const { book, cutOffs, trail, world } = this.#parts;
    const atMs = beforeMs ?? world.now();
    const tasks = book.list();
    if (what.kind === 'task') this.#checkTask(what.txn, tasks);
    if (what.kind === 'tool') this.#checkTool(what.name);
    // Before the end of the tasks: whoever is told of that end and comes back at once finds the door closed.
    const [meant = tasks] = this.#close([{ what, atMs }], tasks);
    // Of an event of some time ago: whoever came with something newer goes on.
    const came = this.#end(what, meant, (task) => beforeMs === undefined || cutOffs.stops(task), reason, by);
    trail.principalRevoked(what, reason, by, what.kind === 'task' ? undefined : atMs, came);
    this.#onRevoked();
    // Last: what has to end has ended, whatever the disk does.
    if (!this.#keep(cutOffs)) throw new Problem('revocation_not_kept');
    return came;
  }

  /**
   * Does here what was revoked at other sidecars: the same, but that what was issued since goes on.
   * @returns whether it could be kept for a restart.
   */
  take(revoked: readonly RevokedElsewhere[]): boolean {
    const { book, cutOffs, trail } = this.#parts;
    // Once for all of them: after a long silence there may be thousands, and nothing else is served meanwhile.
    const tasks = book.list();
    const meant = this.#close(revoked, tasks);
    for (const [at, { what, atMs }] of revoked.entries()) {
      const reason = 'revoked at another sidecar';
      const came = this.#end(what, meant[at] ?? tasks, (task) => cutOffs.stops(task), reason, 'fleet');
      trail.principalRevoked(what, reason, 'fleet', what.kind === 'task' ? undefined : atMs, came);
    }
    return this.#keep(cutOffs);
  }

  /**
   * From now on nothing opens with what was issued before.
   * @returns for each, the tasks among which are all that it concerns and none before it did.
   */
  #close(revoked: readonly RevokedElsewhere[], tasks: readonly Task[]): readonly Iterable<Task>[] {
    const { cutOffs } = this.#parts;
    const parts = revoked.some(({ what }) => what.kind === 'task') ? new TxnParts(tasks) : undefined;
    return revoked.map(({ what, atMs }) => {
      if (what.kind === 'task' && parts !== undefined) return this.#closeTask(what.txn, atMs, parts);
      if (what.kind !== 'task') for (const each of withOurOtherNames(what, cutOffs.ownAgent)) cutOffs.add(each, atMs);
      return tasks;
    });
  }

  /** With its parts here, also those that have ended: what they sent on names them alone, and would go on at the hops behind. */
  #closeTask(txn: string, atMs: number, parts: TxnParts<Task>): Iterable<Task> {
    const { txns } = this.#parts.cutOffs;
    const { tasks, unnamed } = parts.take(txn);
    for (const each of unnamed) txns.addPart(each, atMs);
    txns.add(txn, atMs);
    return tasks;
  }

  /**
   * @param tasks of a task that is revoked, its parts; else all.
   * @param isOver of the tasks that are meant: whether one ends.
   */
  #end(what: Revocable, tasks: Iterable<Task>, isOver: (task: Task) => boolean, reason: string, by: string): Revoked {
    const { book, cutOffs } = this.#parts;
    if (what.kind === 'tool') return this.#closeTool(what.name, by);
    const own = cutOffs.ownAgent;
    const isMeant = (task: Task): boolean => what.kind === 'task' || (concerns(what, task, own) && isOver(task));
    const openBefore = book.openCount;
    let credentials = 0;
    for (const task of tasks) {
      // A sub-task may have ended with its parent a moment ago.
      if (task.state !== 'open' || !isMeant(task)) continue;
      credentials += book.end(task.txn, 'revoked', reason, by).credentialsDropped;
    }
    return { tasks: openBefore - book.openCount, credentials };
  }

  /** The tasks stay open, and get nothing more for this tool: to exchange anew at once would undo the revocation. */
  #closeTool(tool: string, by: string): Revoked {
    const { book, cutOffs, custody } = this.#parts;
    const only = new Set([tool]);
    for (const task of book.list()) {
      if (task.state !== 'open') continue;
      if (by !== 'fleet' || cutOffs.closedTools(only, task.issuedAtMs).has(tool)) task.closeTool(tool);
    }
    return { tasks: 0, credentials: custody.dropTool(tool, 'revoked').dropped };
  }

  /** Elsewhere a task may be open that belongs to one which is over here, or was never here. */
  #checkTask(txn: string, tasks: readonly Task[]): void {
    const { book, isShared } = this.#parts;
    if (isShared || new TxnParts(tasks).take(txn).tasks.some(({ state }) => state === 'open')) return;
    // There is none, and the book says why.
    book.end(txn, 'revoked', '', '');
  }

  #checkTool(name: string): void {
    const tool = this.#parts.tools.find((known) => known.name === name);
    // One that the configuration has no more may have calls under way, in tasks that are open.
    const isMeant = (task: Task): boolean => task.state === 'open' && task.tools.has(name);
    if (tool === undefined && !this.#parts.book.list().some(isMeant)) throw new Problem('tool_unknown');
    // To say "done" would be believed, while calls go on.
    if (tool?.credentialed === false)
      throw new Problem('request_invalid', 'This tool takes no credential that could be revoked.');
  }

  #keep(cutOffs: CutOffs): boolean {
    try {
      this.#parts.keep({ cutOffs: cutOffs.list(), txns: cutOffs.txns.list() });
      return true;
    } catch {
      return false;
    }
  }
}

/** The agent here is cut off under all its names: after a restart its SPIFFE ID may come later than the first request. */
function withOurOtherNames(principal: Principal, own: readonly string[]): readonly Principal[] {
  if (principal.kind !== 'agent' || !own.includes(principal.id)) return [principal];
  return own.map((id) => ({ kind: 'agent', id }));
}
