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

/** Whether a task is this transaction or a part of it. A sub-task is a part of all that its parent is a part of. */
export function takesPart(task: Part, txn: string): boolean {
  const name = nameOfTxn(txn);
  const isNamed = [task.txn, ...transactionsOf(task)].some((one) => nameOfTxn(one) === name);
  return isNamed || (task.parent !== undefined && takesPart(task.parent, txn));
}

/**
 * Whether the hops behind a task that takes part in this transaction do not hear of it: a chain names the tasks of all hops before, and
 * neither the parent of one nor a transaction token.
 */
export function goesOnUnnamed(task: Part, txn: string): boolean {
  if (task.parent === undefined && task.txnToken === undefined) return false;
  const name = nameOfTxn(txn);
  const isSentOn = [task.txn, ...(task.chain?.txns ?? [])].some((one) => nameOfTxn(one) === name);
  return !isSentOn && takesPart(task, txn);
}
