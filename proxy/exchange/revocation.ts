import type { World } from '../world.ts';
import type { ExchangeTrail, RevocationOutcome } from './exchange-trail.ts';
import { type QueuedOrder, RevocationLine, type RevocationOrder, type RevokingService } from './revocation-line.ts';

/** As many as the cache holds: the end of all tasks at once fits in. */
const maxQueued = 10_000;
/** A service that is slow must not tie up more connections than this. */
const maxParallel = 8;
/** About as many at all services together. It is shared, so that one that hangs has its part and no other's. */
const maxTogether = 64;

/**
 * Revocations (RFC 7009), in memory only: a process that is killed leaves its tokens to their short life. Bounded in number, in
 * parallel requests and in attempts, so that a service that is down costs little and ends. Each service has a line of its own: else one
 * that hangs would keep the tokens of all others good.
 */
export class RevocationQueue {
  readonly #world: World;
  readonly #trail: ExchangeTrail;
  readonly #lines = new Map<RevokingService, RevocationLine>();
  #size = 0;
  #idle: (() => void)[] = [];

  constructor(world: World, trail: ExchangeTrail) {
    this.#world = world;
    this.#trail = trail;
  }

  /** Queues a token; the first attempt starts at once. False where the queue is full: the token is then left to its life. */
  add(order: RevocationOrder): boolean {
    if (this.#size >= maxQueued && !this.#makeRoom(order.service)) {
      this.#trail.revocation(order.cause, 'lost');
      return false;
    }
    this.#size++;
    this.#lineOf(order.service).add({ ...order, queuedMs: this.#world.monotonic(), attempts: 0 });
    return true;
  }

  /** Waits until nothing is queued, at most `withinMs`. What waits for a next attempt gets it now. */
  async drain(withinMs: number): Promise<void> {
    for (const line of this.#lines.values()) line.hasten();
    if (this.#size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle.push(resolve);
    const timer = setTimeout(resolve, withinMs);
    await promise;
    clearTimeout(timer);
  }

  #lineOf(service: RevokingService): RevocationLine {
    let line = this.#lines.get(service);
    if (line === undefined) {
      const slots = (): number => Math.min(maxParallel, Math.max(1, Math.floor(maxTogether / this.#lines.size)));
      line = new RevocationLine({ world: this.#world, slots, onEnd: (item, outcome) => this.#end(item, outcome) });
      this.#lines.set(service, line);
    }
    return line;
  }

  /** Gives up the last order of the longest line, if that is another and longer one: a service that is down must not fill the queue. */
  #makeRoom(service: RevokingService): boolean {
    let most = this.#lines.get(service)?.size ?? 0;
    let longest: RevocationLine | undefined;
    for (const line of this.#lines.values()) {
      if (line.size <= most) continue;
      most = line.size;
      longest = line;
    }
    const given = longest?.giveUp();
    if (given !== undefined) this.#end(given, 'lost');
    return given !== undefined;
  }

  /** Every end is counted; only a token that is really back is an event. */
  #end(item: QueuedOrder, outcome: RevocationOutcome): void {
    const { txn, tool, credential, cause, service } = item;
    this.#size--;
    if (this.#lines.get(service)?.size === 0) this.#lines.delete(service);
    this.#trail.revocation(cause, outcome);
    if (outcome === 'revoked') {
      const ms = this.#world.monotonic() - item.queuedMs;
      this.#trail.revoked({ txn, tool, service: credential.service, ms, cause, credential });
    }
    if (this.#size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
