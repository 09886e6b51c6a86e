import { Refusal } from '../refusal.ts';
import type { World } from '../world.ts';
import type { EndpointReply } from './endpoint.ts';
import type { CredentialFacts, RevocationCause, RevocationOutcome } from './exchange-trail.ts';
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

/** A queued order with what has become of it so far. */
export interface QueuedOrder extends RevocationOrder {
  readonly queuedMs: number;
  attempts: number;
}

/** What an attempt came to. No outcome: it is worth another. */
interface Attempt {
  readonly outcome?: RevocationOutcome;
  readonly retryAfterSeconds?: number | undefined;
  /** What the service did: `unasked` where it is not to be asked now, and was not. Undefined where there was no need to. */
  readonly service?: 'answered' | 'silent' | 'unasked';
}

export interface RevocationLineOptions {
  readonly world: World;
  /** How many requests may be at the service at once, now. */
  readonly slots: () => number;
  /** Hears of each order once, when it has left the line. */
  readonly onEnd: (item: QueuedOrder, outcome: RevocationOutcome) => void;
}

/** With doubling pauses from 1 s, about two minutes: longer than a restart, shorter than most tokens. */
const maxAttempts = 8;
const firstBackoffMs = 1000;
const maxBackoffMs = 60_000;
/** Waiting for a service that is not to be asked, or is silent, costs no attempt, for as long as attempts last. */
const maxUnaskedMs = 120_000;

/** What waits for one service. One that gives no answer holds up only this line, and is then asked for one token at a time. */
export class RevocationLine {
  readonly #options: RevocationLineOptions;
  readonly #ready: QueuedOrder[] = [];
  readonly #later = new Map<NodeJS.Timeout, QueuedOrder>();
  #running = 0;
  /** Attempts without an answer, one after another; those that were under way at once count as one. */
  #silences = 0;
  #silentSinceMs = 0;
  #pause: NodeJS.Timeout | undefined;

  constructor(options: RevocationLineOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#ready.length + this.#later.size + this.#running;
  }

  /** The first attempt starts at once, if there is room. */
  add(item: QueuedOrder): void {
    this.#ready.push(item);
    this.#pump();
  }

  /** What waits for a next attempt gets it now. */
  hasten(): void {
    for (const [timer, item] of this.#later) {
      clearTimeout(timer);
      this.#ready.push(item);
    }
    this.#later.clear();
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#pump();
  }

  /** Takes the order out that came last; undefined where all are under way. */
  giveUp(): QueuedOrder | undefined {
    const last = this.#ready.pop();
    if (last !== undefined) return last;
    const [waiting] = this.#later;
    if (waiting === undefined) return undefined;
    clearTimeout(waiting[0]);
    this.#later.delete(waiting[0]);
    return waiting[1];
  }

  /** Starts what may run. */
  #pump(): void {
    const slots = this.#silences > 0 ? 1 : this.#options.slots();
    while (this.#pause === undefined && this.#running < slots) {
      const item = this.#ready.shift();
      if (item === undefined) return;
      this.#running++;
      void this.#attempt(item);
    }
  }

  async #attempt(item: QueuedOrder): Promise<void> {
    const { world, onEnd } = this.#options;
    item.attempts++;
    const { outcome, retryAfterSeconds, service } = await ask(item, world.now());
    this.#running--;
    if (service === 'answered') this.#silences = 0;
    if (service === 'unasked' && world.monotonic() < item.queuedMs + maxUnaskedMs) item.attempts--;
    if (outcome !== undefined || item.attempts >= maxAttempts) onEnd(item, outcome ?? 'failed');
    else if (service === 'silent') this.#ready.push(item);
    else this.#retry(item, retryAfterSeconds ?? backoffMs(item.attempts) / 1000);
    if (service === 'silent') this.#hush();
    this.#pump();
  }

  /** All wait for a service that gave no answer: else each of them would wait for its time-out, one slot after another. */
  #hush(): void {
    if (this.#pause !== undefined) return;
    const nowMs = this.#options.world.monotonic();
    if (this.#silences === 0) this.#silentSinceMs = nowMs;
    this.#silences++;
    // They have no attempts of their own to use up: who has been there for as long as attempts last is told the same.
    const isOver = ({ queuedMs }: QueuedOrder): boolean =>
      nowMs >= Math.max(queuedMs, this.#silentSinceMs) + maxUnaskedMs;
    const waiting = this.#ready.splice(0);
    this.#ready.push(...waiting.filter((item) => !isOver(item)));
    for (const item of waiting.filter(isOver)) this.#options.onEnd(item, 'failed');
    // A sidecar that has ended does not stay for a service that is down.
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#pump();
    }, backoffMs(this.#silences)).unref();
  }

  /** Another attempt of one order after a pause: what the service asked for, else longer each time. */
  #retry(item: QueuedOrder, seconds: number): void {
    const timer = setTimeout(() => {
      this.#later.delete(timer);
      this.add(item);
    }, seconds * 1000).unref();
    this.#later.set(timer, item);
  }
}

function backoffMs(attempts: number): number {
  return Math.min(firstBackoffMs * 2 ** Math.max(attempts - 1, 0), maxBackoffMs);
}

async function ask(item: RevocationOrder, nowMs: number): Promise<Attempt> {
  if (item.validUntilMs !== undefined && item.validUntilMs <= nowMs) return { outcome: 'expired' };
  try {
    const reply = await item.service.revoke(item.token);
    return reply === undefined ? { outcome: 'unsupported' } : { service: 'answered', ...readReply(reply) };
  } catch (error) {
    if (error instanceof Refusal && error.retryAfter !== undefined) {
      return { retryAfterSeconds: error.retryAfter, service: 'unasked' };
    }
    // No answer, no identity, or no metadata: all of them may pass, and none is about this one token.
    return { service: 'silent' };
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
