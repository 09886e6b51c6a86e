import { Refusal } from '../refusal.ts';
import type { World } from '../world.ts';
import type { EndpointReply } from './endpoint.ts';
import type { CredentialFacts, ExchangeTrail, RevocationCause, RevocationOutcome } from './exchange-trail.ts';
import { readErrorCode, readRetryAfter } from './service-refusal.ts';

/** Port: asks a token service to take a token back. Undefined where it has no way to. */
export interface RevokingService {
  readonly name: string;
  /** Whether it is known to have a way to. */
  isRevocable(): boolean;
  revoke(token: RevocableToken): Promise<EndpointReply | undefined>;
}

export interface RevocableToken {
  readonly id: string;
  reveal(): string;
}

/** One token on its way back to its issuer. */
export interface RevocationOrder {
  readonly service: RevokingService;
  readonly token: RevocableToken;
  readonly credential: CredentialFacts;
  readonly txn: string;
  readonly tool: string;
  readonly cause: RevocationCause;
  /** When the token ends by itself; undefined when that is not known. */
  readonly validUntilMs: number | undefined;
}

/** What an attempt came to. No outcome: it is worth another. */
interface Attempt {
  readonly outcome?: RevocationOutcome;
  readonly retryAfterSeconds?: number | undefined;
  /** The service is not to be asked now, and was not. */
  readonly unasked?: boolean;
}

/** A queued order with what has become of it so far. */
interface Item extends RevocationOrder {
  readonly queuedMs: number;
  attempts: number;
}

/** As many as the cache holds: the end of all tasks at once fits in. */
const maxQueued = 10_000;
/** A service that is slow must not tie up more connections than this. */
const maxParallel = 8;
/** With doubling pauses from 1 s, about two minutes: longer than a restart, shorter than most tokens. */
const maxAttempts = 8;
const firstBackoffMs = 1000;
const maxBackoffMs = 60_000;
/** Waiting for a service that is not to be asked costs no attempt, for as long as attempts last. */
const maxUnaskedMs = 120_000;

/**
 * Revocations (RFC 7009), in memory only: a process that is killed leaves its tokens to their short life. Bounded in number, in
 * parallel requests and in attempts, so that a service that is down costs little and ends.
 */
export class RevocationQueue {
  readonly #world: World;
  readonly #trail: ExchangeTrail;
  readonly #ready: Item[] = [];
  readonly #timers = new Map<NodeJS.Timeout, Item>();
  #running = 0;
  #idle: (() => void)[] = [];

  constructor(world: World, trail: ExchangeTrail) {
    this.#world = world;
    this.#trail = trail;
  }

  /** Queues a token; the first attempt starts at once. False where the queue is full: the token is then left to its life. */
  add(order: RevocationOrder): boolean {
    if (this.#size() >= maxQueued) {
      this.#trail.revocation(order.cause, 'lost');
      return false;
    }
    this.#ready.push({ ...order, queuedMs: this.#world.monotonic(), attempts: 0 });
    this.#pump();
    return true;
  }

  /** Waits until nothing is queued, at most `withinMs`. What waits for a next attempt gets it now. */
  async drain(withinMs: number): Promise<void> {
    for (const [timer, item] of this.#timers) {
      clearTimeout(timer);
      this.#ready.push(item);
    }
    this.#timers.clear();
    this.#pump();
    if (this.#size() === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle.push(resolve);
    const timer = setTimeout(resolve, withinMs);
    await promise;
    clearTimeout(timer);
  }

  #size(): number {
    return this.#ready.length + this.#timers.size + this.#running;
  }

  /** Starts what may run, and tells those who wait when there is nothing left. */
  #pump(): void {
    while (this.#running < maxParallel) {
      const item = this.#ready.shift();
      if (item === undefined) break;
      this.#running++;
      void this.#attempt(item);
    }
    if (this.#size() > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #attempt(item: Item): Promise<void> {
    item.attempts++;
    const { outcome, retryAfterSeconds, unasked } = await this.#ask(item);
    this.#running--;
    if (unasked === true && this.#world.monotonic() < item.queuedMs + maxUnaskedMs) item.attempts--;
    if (outcome === undefined && item.attempts < maxAttempts) this.#later(item, retryAfterSeconds);
    else this.#end(item, outcome ?? 'failed');
    this.#pump();
  }

  async #ask(item: Item): Promise<Attempt> {
    if (item.validUntilMs !== undefined && item.validUntilMs <= this.#world.now()) return { outcome: 'expired' };
    try {
      const reply = await item.service.revoke(item.token);
      return reply === undefined ? { outcome: 'unsupported' } : readReply(reply);
    } catch (error) {
      if (error instanceof Refusal && error.retryAfter !== undefined) {
        return { retryAfterSeconds: error.retryAfter, unasked: true };
      }
      // No answer, no identity, or no metadata: all of them may pass.
      return {};
    }
  }

  /** Another attempt after a pause: what the service asked for, else longer each time. */
  #later(item: Item, retryAfterSeconds: number | undefined): void {
    const backoffMs = Math.min(firstBackoffMs * 2 ** Math.max(item.attempts - 1, 0), maxBackoffMs);
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        this.#ready.push(item);
        this.#pump();
      },
      retryAfterSeconds === undefined ? backoffMs : retryAfterSeconds * 1000,
    );
    // A sidecar that has ended does not stay for a service that is down.
    timer.unref();
    this.#timers.set(timer, item);
  }

  /** Every end is counted; only a token that is really back is an event. */
  #end(item: Item, outcome: RevocationOutcome): void {
    this.#trail.revocation(item.cause, outcome);
    if (outcome !== 'revoked') return;
    const { txn, tool, credential, cause } = item;
    const ms = this.#world.monotonic() - item.queuedMs;
    this.#trail.revoked({ txn, tool, service: credential.service, ms, cause, credential });
  }
}

/** RFC 7009 2.2: 200 also for a token that is not known. Errors of ours may pass when the client is set right. */
function readReply(reply: EndpointReply): Attempt {
  const { status } = reply;
  if (status === 200 || status === 204) return { outcome: 'revoked' };
  if (status >= 500 || status === 429 || status === 401) {
    return { retryAfterSeconds: readRetryAfter(reply.headers) };
  }
  return { outcome: readErrorCode(reply) === 'unsupported_token_type' ? 'unsupported' : 'failed' };
}
