import { Refusal, type ServiceError } from '../refusal.ts';
import { MetadataUnavailable } from '../trust/issuer-metadata.ts';
import { KeysUnavailable } from '../trust/jwks.ts';
import type { World } from '../world.ts';
import { Breaker, type Passage } from './breaker.ts';
import type { Deadline } from './deadline.ts';
import { type EndpointCall, EndpointFault } from './endpoint.ts';
import type { RejectCause } from './exchange-trail.ts';
import { Rejection } from './rejection.ts';
import { refuse } from './service-refusal.ts';

/** Exchanges at one service at a time: as many as it has connections. */
const maxInside = 64;
/** More than a well service serves in the time that they would wait; a slow one must not fill the memory with them. */
const maxWaiting = 4096;
/** With less time left than this, whoever waited is not let in any more: he would ask, and not hear the answer. */
const worthMs = 100;
/** How long a call waits for a probe while the breaker is open: long enough for a service that is back, and hardly noticed. */
const probeWaitMs = 20;

/** Answers that are none of the protocol: the service, or what stands before it, is broken. Other rejections are about one token. */
const garbage: ReadonlySet<RejectCause> = new Set(['redirect', 'status', 'oversize', 'not_json', 'malformed']);

/** One use of a service, from its first request to its last. */
export interface Visit {
  /** While the breaker is open: nothing is asked twice then. */
  readonly isProbe: boolean;
  /** What went wrong, before it is told to anybody. */
  fail(error: unknown): void;
  /** The end, well or not; once. */
  end(): void;
}

/** Whoever waits to be let in. */
interface Waiting {
  readonly deadline: Deadline;
  readonly enter: () => void;
  readonly refuse: (refusal: Refusal) => void;
}

/**
 * The way to one service: the pause that it asked for, the breaker, and a bounded line. What a service is asked is bounded here,
 * whatever agents and callers do.
 */
export class ServiceGate {
  readonly #name: string;
  readonly #world: World;
  readonly #breaker: Breaker;
  readonly #waiting = new Set<Waiting>();
  #inside = 0;
  /** Answers in the service's protocol so far, refusals of single grants among them: a sign of life. */
  #answers = 0;
  /** End of a pause that the service asked for (429 or 503 with Retry-After), on the monotonic clock as that of the breaker. */
  #pausedUntilMs = 0;
  /** What it called its error when it failed last: who is not let in for it is told so. */
  #lastError: ServiceError | undefined;

  constructor(name: string, world: World) {
    this.#name = name;
    this.#world = world;
    this.#breaker = new Breaker(world);
  }

  /** The same call, with its answers noted. */
  watch(call: EndpointCall): EndpointCall {
    return async (url, init) => {
      const reply = await call(url, init);
      const { status } = reply;
      if (status === 200 || (status >= 400 && status < 500 && status !== 408 && status !== 429)) this.#answers += 1;
      return reply;
    };
  }

  /** Throws `token_service_unavailable` while the service is not to be asked. A probe that is due passes. */
  check(): void {
    if (this.#pauseLeftMs() > 0 || this.#breaker.leftMs() > 0) throw this.#refusal();
  }

  /** Lets a visit in, at once or when there is room. Throws or rejects with a `Refusal`, at the end of the deadline at the latest. */
  enter(deadline: Deadline): Visit | Promise<Visit> {
    this.check();
    // Visits from before it opened must not keep the probe out.
    if (this.#breaker.isOpen || this.#inside < maxInside) return this.#visit();
    if (this.#waiting.size >= maxWaiting) {
      throw new Refusal('overloaded', `Too many calls wait for the token service "${this.#name}".`);
    }
    return this.#wait(deadline);
  }

  /** Waits for a token, but while the breaker is open only for a moment: the probe goes on without whoever caused it. */
  async hurry<T>(landing: Promise<T>): Promise<T> {
    if (!this.#breaker.isOpen) return landing;
    const { promise, reject } = Promise.withResolvers<T>();
    const timer = setTimeout(() => reject(this.#refusal()), probeWaitMs);
    try {
      return await Promise.race([landing, promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** @throws Refusal when another probe is under way. */
  #visit(): Visit {
    const passage = this.#breaker.pass();
    if (passage === undefined) throw this.#refusal();
    this.#inside += 1;
    const answersBefore = this.#answers;
    let failed = false;
    return {
      isProbe: passage.isProbe,
      fail: (error) => {
        failed ||= isFailure(error);
        this.#lastError = failed && error instanceof Refusal ? error.serviceError : undefined;
        if (error instanceof Refusal && error.retryAfter !== undefined) this.#pause(error.retryAfter);
      },
      end: () => this.#leave(passage, failed ? 'unwell' : this.#answers > answersBefore ? 'well' : 'nothing'),
    };
  }

  #leave(passage: Passage, health: Parameters<Breaker['tell']>[1]): void {
    this.#inside -= 1;
    if (health === 'well') this.#lastError = undefined;
    this.#breaker.tell(passage, health);
    // Who waits for a service that is down would only wait in vain.
    if (this.#breaker.isOpen || this.#pauseLeftMs() > 0) {
      const refusal = this.#refusal();
      for (const waiting of this.#waiting) waiting.refuse(refusal);
      return;
    }
    for (const waiting of this.#waiting) {
      if (waiting.deadline.allows(worthMs)) {
        waiting.enter();
        return;
      }
      waiting.refuse(this.#refusal());
    }
  }

  #wait(deadline: Deadline): Promise<Visit> {
    const { promise, resolve, reject } = Promise.withResolvers<Visit>();
    const leave = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(waiting);
    };
    const waiting: Waiting = {
      deadline,
      enter: () => {
        leave();
        resolve(this.#visit());
      },
      refuse: (refusal) => {
        leave();
        reject(refusal);
      },
    };
    const timer = setTimeout(() => waiting.refuse(this.#refusal()), deadline.leftMs());
    this.#waiting.add(waiting);
    return promise;
  }

  /** A service that asked for a pause gets it, from all tasks alike: its limit is on the client, which is us. */
  #pause(seconds: number): void {
    this.#pausedUntilMs = this.#world.monotonic() + seconds * 1000;
  }

  #pauseLeftMs(): number {
    return this.#pausedUntilMs - this.#world.monotonic();
  }

  #refusal(): Refusal {
    const leftMs = Math.max(this.#pauseLeftMs(), this.#breaker.leftMs());
    return refuse('token_service_unavailable', this.#name, Math.max(1, Math.ceil(leftMs / 1000)), this.#lastError);
  }
}

/** Whether an error says that the service is not well. A "no" to one grant, and a token that is not as asked, do not. */
function isFailure(error: unknown): boolean {
  if (error instanceof Refusal) return error.code === 'token_service_unavailable';
  if (error instanceof Rejection) return isGarbage(error);
  return error instanceof EndpointFault || error instanceof MetadataUnavailable || error instanceof KeysUnavailable;
}

/** A token that came and cannot be read says nothing of the service: those of one tool would close the way to it for all others. */
function isGarbage({ rejected, tokenId }: Rejection): boolean {
  return garbage.has(rejected) && (rejected !== 'malformed' || tokenId === undefined);
}
