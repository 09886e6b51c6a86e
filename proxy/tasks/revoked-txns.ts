import { digestOf } from '../delegation/link.ts';
import type { TaskChain, TaskTxnToken } from './task.ts';

/** A transaction that was revoked. */
export interface RevokedTxn {
  /** As `nameOfTxn` gives it. */
  readonly txn: string;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
}

/**
 * Their tasks have ended already: what is forgotten early could come back only with a chain that was caught before. Nothing is forgotten by its
 * age, though none matters after a day: a clock that was ahead for a moment would lift revocations for good.
 */
export const maxRevokedTxns = 16_384;
/** To look for the oldest at each new one would take the time of all that come together. */
const spareTxns = 1024;

/** A transaction may have thousands of parts: they must not push it out itself, nor what others were revoked by. */
const dayMs = 86_400_000;

const plain = /^[!-~]{1,100}$/;

/**
 * How a transaction is named where it is revoked: in memory, in the file and in the store of a fleet. A transaction token, or a link of another
 * implementation, may call it anything; what is not plain goes by its hash, or it would be revoked here and go on at the other sidecars.
 */
function nameOfTxn(txn: string): string {
  return plain.test(txn) ? txn : `sha-256:${digestOf(txn)}`;
}

/** Whether a text that somebody else wrote is such a name. */
export function isNameOfTxn(text: string): boolean {
  return plain.test(text);
}

/**
 * Transactions that were revoked: what a task is told apart by along its whole way. The task itself ends at once; a request that was on its
 * way then, with the chain of a hop before, must not open the next one.
 */
export class RevokedTxns {
  readonly #atMs = new Map<string, number>();

  constructor(kept: readonly RevokedTxn[]) {
    for (const { txn, atMs } of kept) this.add(txn, atMs);
  }

  has(txn: string): boolean {
    return this.#atMs.has(nameOfTxn(txn));
  }

  add(text: string, atMs: number): void {
    const txn = nameOfTxn(text);
    const later = Math.max(atMs, this.#atMs.get(txn) ?? 0);
    this.#atMs.delete(txn);
    this.#atMs.set(txn, later);
    if (this.#atMs.size <= maxRevokedTxns + spareTxns) return;
    // By their time: those of a fleet come in any order.
    const oldest = [...this.#atMs].toSorted(([, a], [, b]) => a - b).slice(0, -maxRevokedTxns);
    for (const [each] of oldest) this.#atMs.delete(each);
  }

  /** A part of what was revoked at that time: it counts as older than all that was named itself in the day before. */
  addPart(txn: string, atMs: number): void {
    this.add(txn, Math.max(0, atMs - dayMs));
  }

  list(): readonly RevokedTxn[] {
    return [...this.#atMs].map(([txn, atMs]) => ({ txn, atMs }));
  }

  /** Whether one of them is in what a request comes with. */
  isIn(opening: Transacted): boolean {
    return this.#atMs.size > 0 && transactionsOf(opening).some((txn) => this.has(txn));
  }
}

/** What of a task, or of a request for one, names transactions. */
export interface Transacted {
  readonly chain?: TaskChain | undefined;
  readonly txnToken?: TaskTxnToken | undefined;
}

/** The transactions of all hops before, and of a transaction token. */
function transactionsOf({ chain, txnToken }: Transacted): readonly string[] {
  return [...(chain?.txns ?? []), ...(txnToken === undefined ? [] : [txnToken.txn])];
}

/** A task, as transactions see it. */
interface Part extends Transacted {
  readonly txn: string;
  readonly parent?: Part | undefined;
}

/** What takes part in a transaction. */
export interface PartsFound<Task> {
  readonly tasks: readonly Task[];
  /** Transactions of those whose hops behind do not hear of it: a chain names neither the parent of a task nor a transaction token. */
  readonly unnamed: readonly string[];
}

/**
 * Who of some tasks takes part in which transaction. The tasks are looked at once, whatever is asked then: of one transaction with
 * thousands of parts, another sidecar names each, and to look at all tasks for each of them held up everything else for a minute.
 */
export class TxnParts<Task extends Part> {
  /** By each name that a task, its chain or its transaction token has. */
  readonly #named = new Map<string, Task[]>();
  readonly #subTasks = new Map<Part, Task[]>();
  /** Each is found once: of thousands that are nested and all named, else each would be found for every one above it. */
  readonly #found = new Set<Task>();

  constructor(tasks: Iterable<Task>) {
    for (const task of tasks) {
      for (const txn of new Set([task.txn, ...transactionsOf(task)])) push(this.#named, nameOfTxn(txn), task);
      if (task.parent !== undefined) push(this.#subTasks, task.parent, task);
    }
  }

  /**
   * All of a transaction that were not found for one before: also what came back through an unnamed part, which is known by that part
   * alone.
   */
  take(txn: string): PartsFound<Task> {
    const names = new Set([nameOfTxn(txn)]);
    const tasks: Task[] = [];
    for (const name of names)
      for (const task of this.#with(name)) {
        tasks.push(task);
        if (!isNamedBy(task, names)) names.add(task.txn);
      }
    return { tasks, unnamed: [...names].slice(1) };
  }

  /** The tasks that have a name, and their sub-tasks: as a list and not by recursion, since agents may nest them as they like. */
  #with(name: string): readonly Task[] {
    const found: Task[] = [];
    const add = (task: Task): void => {
      if (this.#found.has(task)) return;
      this.#found.add(task);
      found.push(task);
    };
    this.#named.get(name)?.forEach(add);
    for (const task of found) this.#subTasks.get(task)?.forEach(add);
    return found;
  }
}

/** Whether what a task sends on has one of these names. */
function isNamedBy({ txn, chain }: Part, names: ReadonlySet<string>): boolean {
  return [txn, ...(chain?.txns ?? [])].some((one) => names.has(nameOfTxn(one)));
}

function push<Key, Value>(lists: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
