import { maxCutOffs, type CutOffs } from '../tasks/cut-offs.ts';
import { maxRevokedTxns } from '../tasks/revoked-txns.ts';
import { memberOf, readCutOff, readTxn, type StoreEntry } from './fleet-entry.ts';
import type { StoreContent } from './fleet-store.ts';
import type { RevokedElsewhere } from './kill-switch.ts';

/** What the store lacks of what is known here. */
export interface Lacking {
  readonly cutOffs: readonly StoreEntry[];
  readonly txns: readonly StoreEntry[];
}

/**
 * Compares what is known here with what the store holds. Both only grow, and of one principal the later time counts, so it does not matter
 * who tells whom first, or how often: a store that lost something, or all, gets it back from whoever knows it.
 */
export class FleetMerge {
  readonly #cutOffs: CutOffs;
  /** Entries that were looked at. One whose time is ahead of ours is taken once, and not anew each second. */
  #seen = new Map<string, number>();

  constructor(cutOffs: CutOffs) {
    this.#cutOffs = cutOffs;
  }

  /** What was revoked elsewhere and is new here, oldest first, and how many entries could not be read. */
  learn(
    content: StoreContent,
    nowMs: number,
  ): { readonly revoked: readonly RevokedElsewhere[]; readonly strange: number } {
    const seen = new Map<string, number>();
    const revoked: RevokedElsewhere[] = [];
    let strange = 0;
    const look = (entries: readonly StoreEntry[], read: typeof readCutOff): void => {
      for (const entry of entries.toReversed()) {
        seen.set(entry.member, entry.score);
        if (this.#seen.get(entry.member) === entry.score) continue;
        const learnt = read(entry, nowMs);
        if (learnt === undefined) strange += 1;
        else if (this.#isNew(learnt)) revoked.push(learnt);
      }
    };
    const floor = floorOf(content.cutOffs, maxCutOffs);
    // What stands beyond is not read, and must not be let in for that.
    if (floor >= 0) look([{ member: memberOf({ kind: 'forgotten' }), score: floor }], readCutOff);
    look(content.cutOffs, readCutOff);
    look(content.txns, readTxn);
    this.#seen = seen;
    return { revoked, strange };
  }

  lackedBy(content: StoreContent): Lacking {
    const known = new Map([...content.cutOffs, ...content.txns].map(({ member, score }) => [member, score]));
    const [cutOffFloor, txnFloor] = [floorOf(content.cutOffs, maxCutOffs), floorOf(content.txns, maxRevokedTxns)];
    const isLacking = ({ member, score }: StoreEntry, floor: number): boolean =>
      score > floor && !((known.get(member) ?? -1) >= score);
    const cutOffs = this.#cutOffs.list().map(({ principal, beforeMs }) => ({
      member: memberOf(principal),
      score: beforeMs,
    }));
    const txns = this.#cutOffs.txns.list().map(({ txn, atMs }) => ({ member: txn, score: atMs }));
    return {
      cutOffs: cutOffs.filter((entry) => isLacking(entry, cutOffFloor)),
      txns: txns.filter((entry) => isLacking(entry, txnFloor)),
    };
  }

  #isNew({ what, atMs }: RevokedElsewhere): boolean {
    return what.kind === 'task' ? !this.#cutOffs.txns.has(what.txn) : !this.#cutOffs.covers(what, atMs);
  }
}

/** The time of the oldest entry that was read, where there may be older ones; else -1. */
function floorOf(entries: readonly StoreEntry[], max: number): number {
  return entries.length > max ? (entries.at(-1)?.score ?? -1) : -1;
}
