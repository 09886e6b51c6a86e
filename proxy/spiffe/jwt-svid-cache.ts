import { IdentityUnavailable, type UnavailableReason } from './identity-unavailable.ts';
import type { JwtSvid } from './jwt-svid.ts';
import type { SpiffeId } from './spiffe-id.ts';

/** Where new JWT-SVIDs come from. */
export interface JwtSvidSource {
  /** The ID that SVIDs must have now; undefined: whichever the agent names first. */
  wanted(): SpiffeId | undefined;
  /** Asks the agent; rejects with IdentityUnavailable. */
  fetch(audience: string, spiffeId: SpiffeId | undefined, timeoutMs: number): Promise<JwtSvid>;
}

/** A held SVID and when the agent is asked for the next. */
interface Entry {
  readonly svid: JwtSvid;
  refreshAtMs: number;
}

/** A call to the agent. */
interface Flight {
  readonly answer: Promise<JwtSvid>;
  /** Resolves when whoever has an SVID still goes on with that. */
  readonly late: Promise<undefined>;
}

/** How long an asker whose SVID is past half of its life waits for the next one, milliseconds: an agent that hangs holds up no calls. */
const lateMs = 250;
/** How long the agent is left alone after a failure, by audience: a busy sidecar must not turn an outage into a storm of calls. */
const restMs = 1000;
/** A request that the agent calls wrong stays wrong. */
const longRestMs = 30_000;

/** JWT-SVIDs by audience: one call for any number of askers, renewed from half of their life, gone when the identity is. */
export class JwtSvidCache {
  readonly #source: JwtSvidSource;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #failures = new Map<
    string,
    { readonly reason: UnavailableReason; readonly atMs: number; readonly restMs: number }
  >();
  readonly #flights = new Map<string, Flight>();
  #generation = 0;

  constructor(source: JwtSvidSource, now: () => number) {
    this.#source = source;
    this.#now = now;
  }

  /**
   * An SVID for this audience: a held one where the agent does not give the next in time. Askers that join a call under way wait as long as
   * the first of them wanted to.
   */
  get(audience: string, timeoutMs: number): Promise<JwtSvid> {
    const held = this.#find(audience);
    if (held !== undefined && this.#now() < held.refreshAtMs) return Promise.resolve(held.svid);
    const failure = this.#failures.get(audience);
    // In either direction: a clock that was set back must not repeat a failure for hours.
    if (failure !== undefined && Math.abs(this.#now() - failure.atMs) < failure.restMs) {
      return Promise.reject(new IdentityUnavailable(failure.reason));
    }
    const { answer, late } = this.#flights.get(audience) ?? this.#begin(audience, timeoutMs);
    if (held === undefined) return answer;
    // Looked up again: what ended meanwhile, by a denial too, is not given out.
    return Promise.race([answer, late]).then((next) => next ?? this.#find(audience)?.svid ?? answer);
  }

  /** The SPIFFE ID of any SVID that is held and valid. */
  identity(): SpiffeId | undefined {
    return this.#entries
      .keys()
      .map((audience) => this.#find(audience)?.svid.spiffeId)
      .find(Boolean);
  }

  /** An identity has come: earlier failures say nothing any more. */
  forgive(): void {
    this.#failures.clear();
  }

  /** Forgets everything, and what is on its way too: an answer given before the loss of the identity must not outlive it. */
  drop(): void {
    this.#generation += 1;
    this.#entries.clear();
    this.#failures.clear();
    this.#flights.clear();
  }

  #begin(audience: string, timeoutMs: number): Flight {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => late.resolve(undefined), lateMs);
    const answer = this.#renew(audience, timeoutMs).finally(() => {
      clearTimeout(timer);
      // After `drop` a newer flight may be registered here; it is not ours to remove.
      if (this.#flights.get(audience) === flight) this.#flights.delete(audience);
    });
    const flight: Flight = { answer, late: late.promise };
    this.#flights.set(audience, flight);
    return flight;
  }

  async #renew(audience: string, timeoutMs: number): Promise<JwtSvid> {
    const generation = this.#generation;
    try {
      const svid = await this.#source.fetch(audience, this.#source.wanted(), timeoutMs);
      // The X.509 identity changed while the call was under way: the two halves of one identity must not differ.
      const isWanted = isOf(this.#source.wanted(), svid);
      // Asked second: the first question may find that the identity has ended, and drop what is here.
      if (generation !== this.#generation) throw new IdentityUnavailable('denied');
      if (!isWanted) throw new IdentityUnavailable('unavailable');
      this.#entries.set(audience, { svid, refreshAtMs: svid.halfLifeMs });
      return svid;
    } catch (error) {
      if (!(error instanceof IdentityUnavailable) || generation !== this.#generation) throw error;
      return this.#fallBack(audience, error);
    }
  }

  /** An agent that is away does not take back what it gave: a held SVID is good until it expires. Only a denial ends it. */
  #fallBack(audience: string, error: IdentityUnavailable): JwtSvid {
    const { reason } = error;
    if (reason === 'denied') this.drop();
    const now = this.#now();
    const held = this.#find(audience);
    if (held !== undefined) {
      held.refreshAtMs = now + restMs;
      return held.svid;
    }
    const isLasting = reason === 'rejected' || reason === 'unsupported';
    this.#failures.set(audience, { reason, atMs: now, restMs: isLasting ? longRestMs : restMs });
    throw error;
  }

  /** What is held for an audience, valid, and of the ID that is wanted now. */
  #find(audience: string): Entry | undefined {
    // First: whoever is asked may find that the identity has ended, and drop what is here.
    const wanted = this.#source.wanted();
    const entry = this.#entries.get(audience);
    if (entry === undefined) return undefined;
    if (entry.svid.expiresAtMs > this.#now() && isOf(wanted, entry.svid)) return entry;
    this.#entries.delete(audience);
    return undefined;
  }
}

function isOf(wanted: SpiffeId | undefined, svid: JwtSvid): boolean {
  return wanted?.equals(svid.spiffeId) ?? true;
}
