import type { IssuedToken } from './issued-token.ts';
import type { RevokingService } from './revocation-line.ts';
import type { TokenOrder } from './token-order.ts';

/** A token with the order that it was issued for, and the service that it goes back to. */
export interface CacheEntry {
  readonly order: TokenOrder;
  readonly token: IssuedToken;
  readonly service: RevokingService;
  /** From then on a call that finds it starts a new exchange in the background. */
  readonly refreshAtMs: number;
  /** Of a replaced token: until then a call may still be on its way with it; else until its own end of use. */
  readonly keptUntilMs?: number;
}

/** Part of a token's usable life after which it is refreshed. */
const refreshPart = 0.8;

/**
 * The tokens in our custody: one in use per order, and those that were replaced but are still good at their service. Nothing leaves
 * without being returned to the caller, who has to revoke it.
 */
export class TokenCache {
  readonly #maxEntries: number;
  readonly #current = new Map<string, CacheEntry>();
  readonly #keysOfTask = new Map<string, Set<string>>();
  readonly #replaced = new Map<string, CacheEntry[]>();

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries;
  }

  /** The entry of an order, whatever its age: the caller compares the time, once. */
  find(key: string): CacheEntry | undefined {
    return this.#current.get(key);
  }

  /** Puts a token in use. Returns those that are out of use by now: replaced ones past their end, and the oldest when the cache is full. */
  put(entry: CacheEntry, nowMs: number): { ended: CacheEntry[]; evicted: CacheEntry[] } {
    const { order } = entry;
    const before = this.remove(order.key);
    const ended = this.#sweepReplaced(order.txn, before, nowMs);
    this.#current.set(order.key, entry);
    const keys = this.#keysOfTask.get(order.txn) ?? new Set();
    this.#keysOfTask.set(order.txn, keys.add(order.key));
    const evicted: CacheEntry[] = [];
    while (this.#current.size > this.#maxEntries) {
      const [oldest] = this.#current.keys();
      const removed = oldest === undefined ? undefined : this.remove(oldest);
      if (removed === undefined) break;
      evicted.push(removed);
    }
    return { ended, evicted };
  }

  /** Takes the token of an order out of use. */
  remove(key: string): CacheEntry | undefined {
    const entry = this.#current.get(key);
    if (entry === undefined) return undefined;
    this.#current.delete(key);
    const keys = this.#keysOfTask.get(entry.order.txn);
    keys?.delete(key);
    if (keys?.size === 0) this.#keysOfTask.delete(entry.order.txn);
    return entry;
  }

  /** Takes everything of a task out, in use or replaced; of one tool only, if named. */
  takeTask(txn: string, tool?: string): CacheEntry[] {
    return this.takeWhere(txn, ({ order }) => tool === undefined || order.tool === tool);
  }

  /** Takes what is meant of a task out, in use or replaced. */
  takeWhere(txn: string, isMeant: (entry: CacheEntry) => boolean): CacheEntry[] {
    // Most tasks of the way in call no tool, and every one of them ends.
    if (!this.#keysOfTask.has(txn) && !this.#replaced.has(txn)) return [];
    const current = [...(this.#keysOfTask.get(txn) ?? [])]
      .map((key) => this.find(key))
      .filter(isEntry)
      .filter(isMeant);
    for (const entry of current) this.remove(entry.order.key);
    const replaced = this.#replaced.get(txn) ?? [];
    const kept = replaced.filter((entry) => !isMeant(entry));
    if (kept.length > 0) this.#replaced.set(txn, kept);
    else this.#replaced.delete(txn);
    return [...current, ...replaced.filter(isMeant)];
  }

  /** The tokens in use, for the inventory. */
  entries(): IterableIterator<CacheEntry> {
    return this.#current.values();
  }

  /** Transaction ids of all tasks that have a token here. */
  tasks(): Set<string> {
    return new Set([...this.#keysOfTask.keys(), ...this.#replaced.keys()]);
  }

  /** Takes those that `isMeant` says out of use; they are kept until `untilMs`, or their own end of use. */
  retire(isMeant: (entry: CacheEntry) => boolean, untilMs: number): void {
    for (const entry of [...this.#current.values()].filter(isMeant)) {
      this.remove(entry.order.key);
      const all = this.#replaced.get(entry.order.txn) ?? [];
      all.push({ ...entry, keptUntilMs: Math.min(entry.token.expiresAtMs, untilMs) });
      this.#replaced.set(entry.order.txn, all);
    }
  }

  /** Takes out what is past its time in all tasks: of what was replaced, and of what no call has come for since. */
  sweep(nowMs: number): { readonly replaced: CacheEntry[]; readonly unused: CacheEntry[] } {
    const unused = [...this.#current.values()].filter(({ token }) => token.isOver(nowMs));
    for (const { order } of unused) this.remove(order.key);
    return {
      replaced: [...this.#replaced.keys()].flatMap((txn) => this.#sweepReplaced(txn, undefined, nowMs)),
      unused,
    };
  }

  /** When the next token here is past its time; Infinity where there is none. */
  nextEndMs(): number {
    let next = Infinity;
    for (const { token } of this.#current.values()) next = Math.min(next, token.expiresAtMs);
    for (const all of this.#replaced.values())
      for (const { keptUntilMs, token } of all) next = Math.min(next, keptUntilMs ?? token.expiresAtMs);
    return next;
  }

  /** A call that took the old token a moment ago may still be on its way, so a replaced token is kept for a time. */
  #sweepReplaced(txn: string, before: CacheEntry | undefined, nowMs: number): CacheEntry[] {
    const all = this.#replaced.get(txn) ?? [];
    if (before !== undefined) all.push(before);
    const isOver = ({ keptUntilMs = Infinity, token }: CacheEntry): boolean =>
      keptUntilMs <= nowMs || token.isOver(nowMs);
    const kept = all.filter((entry) => !isOver(entry));
    if (kept.length > 0) this.#replaced.set(txn, kept);
    else this.#replaced.delete(txn);
    return all.filter(isOver);
  }
}

function isEntry(entry: CacheEntry | undefined): entry is CacheEntry {
  return entry !== undefined;
}

/** A new token could not live longer than the subject's, so there is no point in asking for one just before that ends. */
export function refreshTime({ subject }: TokenOrder, { issuedAtMs, expiresAtMs }: IssuedToken): number {
  if (subject !== undefined && subject.expiresAtMs <= expiresAtMs) return Infinity;
  return issuedAtMs + refreshPart * (expiresAtMs - issuedAtMs);
}
