import { Recent } from '../tasks/recent.ts';
import type { Secret } from '../trust/secret.ts';
import type { World } from '../world.ts';
import type { X509SvidSource } from './client-auth/spiffe-x509.ts';
import { credentialOf, type ExchangeTrail, type RevocationCause } from './exchange-trail.ts';
import type { IssuedToken } from './issued-token.ts';
import { RevocationQueue } from './revocation.ts';
import type { RevocableToken, RevokingService } from './revocation-line.ts';
import { type CacheEntry, refreshTime, TokenCache } from './token-cache.ts';
import type { TokenOrder } from './token-order.ts';

/** What the end of a task, or a revocation, took out of use. */
export interface Dropped {
  readonly dropped: number;
  readonly revocations_queued: number;
}

/** A token in use, for the inventory. */
export interface HeldToken {
  readonly txn: string;
  readonly tool: string;
  readonly token: IssuedToken;
}

/** About 4 MB of tokens; beyond, the oldest goes back to its issuer. */
const maxEntries = 10_000;
/** For calls that were let in just before the end of their task; the tasks themselves have longer tombstones. */
const maxEndedTasks = 10_000;
/** How long a token of a rotated certificate stays good for calls that took it before, milliseconds. */
const rotationGraceMs = 10_000;
/** How long after its end a token goes back: for calls that took it just before, and so that a crowd of tokens is swept at once. */
const sweepPauseMs = 1000;
/** Node's timers end at 2^31 ms; looking earlier costs nothing. */
const maxSweepMs = 600_000;

/** Every issued token from its arrival until it is back at its issuer or has ended: in use, replaced, or on its way back. */
export class TokenCustody {
  readonly #world: World;
  readonly #trail: ExchangeTrail;
  readonly #svids: X509SvidSource;
  readonly #cache = new TokenCache(maxEntries);
  readonly #revocations: RevocationQueue;
  readonly #endedTasks = new Recent<true>(maxEndedTasks);
  /** When the next sweep is due; Infinity while nobody waits for one. */
  #sweepDueMs = Infinity;
  #sweepTimer: NodeJS.Timeout | undefined;

  constructor(world: World, trail: ExchangeTrail, svids: X509SvidSource) {
    this.#world = world;
    this.#trail = trail;
    this.#svids = svids;
    this.#revocations = new RevocationQueue(world, trail);
  }

  /** The entry of an order, of any age. */
  find(key: string): CacheEntry | undefined {
    return this.#cache.find(key);
  }

  /** Whether a task was dropped here; known for the last 10,000. */
  isTaskEnded(txn: string): boolean {
    return this.#endedTasks.has(txn);
  }

  /** Puts a token in use. The one before it is kept until its own end of use, since a call may just be on its way with it. */
  keep(order: TokenOrder, token: IssuedToken, service: RevokingService): void {
    const entry = { order, token, service, refreshAtMs: refreshTime(order, token) };
    const { ended, evicted } = this.#cache.put(entry, this.#world.now());
    for (const old of ended) this.giveBack(old, 'superseded');
    for (const old of evicted) this.giveBack(old, 'evicted');
    this.#sweepBy(token.expiresAtMs);
    // Asked for before a rotation and arrived after it: good for those who wait, and for nobody after them.
    if (order.certificate !== undefined && order.certificate !== this.#svids.certificate()) this.retireBound();
  }

  /** Takes the token of an order out of use and back, because its tool refuses it. */
  discard(key: string): void {
    const entry = this.#cache.remove(key);
    if (entry !== undefined) this.giveBack(entry, 'refused_by_tool');
  }

  /**
   * Takes the tokens out of use that are bound to another certificate than the current. After a rotation they go back a moment later:
   * who took one just before is still on the way with it, over a connection of that certificate, and must not fail because we rotated.
   * Where the identity was taken away they go back at once.
   */
  retireBound(): void {
    const current = this.#svids.certificate();
    const isOther = ({ order: { certificate } }: CacheEntry): boolean =>
      certificate !== undefined && certificate !== current;
    const graceMs = current === undefined ? 0 : rotationGraceMs;
    this.#cache.retire(isOther, this.#world.now() + graceMs);
    this.#sweepBy(this.#world.now() + graceMs - sweepPauseMs);
  }

  /** Takes all tokens of a task out of use and back, and remembers that the task has ended. */
  dropTask(txn: string, cause: RevocationCause): Dropped {
    if (!this.#endedTasks.has(txn)) this.#endedTasks.add(txn, true);
    return this.#giveBackAll(this.#cache.takeTask(txn), cause);
  }

  /** The same for one tool in all tasks. */
  dropTool(tool: string, cause: RevocationCause): Dropped {
    const entries = [...this.#cache.tasks()].flatMap((txn) => this.#cache.takeTask(txn, tool));
    return this.#giveBackAll(entries, cause);
  }

  /** The same for everything. */
  dropAll(cause: RevocationCause): Dropped {
    const entries = [...this.#cache.tasks()].flatMap((txn) => this.#cache.takeTask(txn));
    return this.#giveBackAll(entries, cause);
  }

  /** The same for everything that was issued for some orders. */
  dropOrders(isMeant: (order: TokenOrder) => boolean, cause: RevocationCause): Dropped {
    const entries = [...this.#cache.tasks()].flatMap((txn) =>
      this.#cache.takeWhere(txn, ({ order }) => isMeant(order)),
    );
    return this.#giveBackAll(entries, cause);
  }

  /** The tokens that a call could get now. */
  held(): readonly HeldToken[] {
    const now = this.#world.now();
    return [...this.#cache.entries()]
      .filter((entry) => !entry.token.isOver(now))
      .map(({ order, token }) => ({ txn: order.txn, tool: order.tool, token }));
  }

  /** Sends a token back to its issuer. False where that cannot be done: it is then left to its life. */
  giveBack(
    { order, token, service }: Pick<CacheEntry, 'order' | 'token' | 'service'>,
    cause: RevocationCause,
  ): boolean {
    if (!isAlive(token, this.#world.now())) return false;
    return this.#revoke({ order, token, service }, credentialOf(token), token.validUntilMs, cause);
  }

  /** The same for a token that was never put in use. */
  takeBack(service: RevokingService, order: TokenOrder, token: Secret, cause: RevocationCause): void {
    const { audience, scopes = [] } = order;
    const credential = credentialOf({ service: service.name, id: token.id, audience, scopes });
    this.#revoke({ order, token, service }, credential, undefined, cause);
  }

  /** Waits for revocations, at most `withinMs`. */
  drain(withinMs: number): Promise<void> {
    return this.#revocations.drain(withinMs);
  }

  /** A task may stay open for long after its last call: what is not used any more is no reason to leave it at its service. */
  #sweepBy(endMs: number): void {
    const dueMs = endMs + sweepPauseMs;
    if (dueMs >= this.#sweepDueMs) return;
    clearTimeout(this.#sweepTimer);
    this.#sweepDueMs = dueMs;
    const waitMs = Math.min(Math.max(dueMs - this.#world.now(), 0), maxSweepMs);
    // A sidecar that ends takes everything back by itself, and does not stay for this.
    this.#sweepTimer = setTimeout(() => this.#sweep(), waitMs).unref();
  }

  #sweep(): void {
    this.#sweepDueMs = Infinity;
    const now = this.#world.now();
    const { replaced, unused } = this.#cache.sweep(now);
    for (const old of replaced) this.giveBack(old, 'superseded');
    for (const old of unused) this.giveBack(old, 'expired');
    const next = this.#cache.nextEndMs();
    if (next !== Infinity) this.#sweepBy(Math.max(next, now));
  }

  /** Counts what was still good, and what of it is on its way back. */
  #giveBackAll(entries: readonly CacheEntry[], cause: RevocationCause): Dropped {
    const now = this.#world.now();
    const alive = entries.filter((entry) => isAlive(entry.token, now));
    const queued = alive.filter((entry) => this.giveBack(entry, cause));
    return { dropped: alive.length, revocations_queued: queued.length };
  }

  #revoke(
    { order, token, service }: { order: TokenOrder; token: RevocableToken; service: RevokingService },
    credential: ReturnType<typeof credentialOf>,
    validUntilMs: number | undefined,
    cause: RevocationCause,
  ): boolean {
    if (!service.isRevocable()) {
      // Said and counted: an operator should know that tokens of this service only end by themselves.
      this.#trail.revocation(cause, 'unsupported');
      return false;
    }
    const { txn, tool } = order;
    return this.#revocations.add({ service, token, credential, txn, tool, cause, validUntilMs });
  }
}

/** Whether a service would still accept a token, as far as it said. */
function isAlive(token: IssuedToken, nowMs: number): boolean {
  return token.validUntilMs === undefined || token.validUntilMs > nowMs;
}
