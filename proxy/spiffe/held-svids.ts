import { EndedAnswer, MalformedAnswer } from './identity-unavailable.ts';
import type { X509SvidResponse } from './service-definition.ts';
import { joinSvids, parseX509Context, type X509Context } from './x509-svid.ts';

/** News about our own X.509 identity. `cause`: the agent denies it, sent a state without it, or nobody renewed it in time. */
export type SvidEvent =
  | {
      readonly kind: 'svid.rotated';
      readonly spiffeId: string;
      readonly serial: string;
      readonly expiresAtMs: number;
      readonly isFirst: boolean;
    }
  | { readonly kind: 'svid.lost'; readonly spiffeId: string; readonly cause: SvidLoss };

/** Why an identity is gone. */
export type SvidLoss = 'denied' | 'redacted' | 'expired';

/** The clock is looked at this often at least: timers stand still while a machine sleeps, and hear of no clock that is set. */
const longestTimerMs = 1000;

/** The X509-SVIDs in force: replaced as a whole by each answer, gone when taken back, gone when expired. */
export class HeldSvids {
  readonly #now: () => number;
  readonly #onEvent: (event: SvidEvent) => void;
  readonly #hint: string | undefined;
  #context: X509Context | undefined;
  /** The last one that came, with what has ended: its source sends it once, and a clock that was ahead may be set back. */
  #taken: X509Context | undefined;
  /** When the first of the SVIDs ends. */
  #endsAtMs = Infinity;
  #timer: NodeJS.Timeout | undefined;

  /** @param hint of the SVID that is ours where several are granted; without it the first. */
  constructor(now: () => number, onEvent: (event: SvidEvent) => void, hint: string | undefined) {
    this.#now = now;
    this.#onEvent = onEvent;
    this.#hint = hint;
  }

  /** The SVIDs to use now. The clock is asked too: a timer may be late, an expired SVID is never handed out, and its end is told. */
  current(): X509Context | undefined {
    if (this.#endsAtMs <= this.#now()) this.#dropExpired();
    return this.#context;
  }

  /** Takes the full state of an answer; throws MalformedAnswer and keeps what is held when the answer cannot be used. */
  take(response: X509SvidResponse): void {
    const next = parseX509Context(response, this.#hint);
    if (next === undefined) {
      this.drop('redacted');
      // Never another one in its place: the operator gave this workload several identities, and meant one of them.
      if (this.#hint === undefined) throw new MalformedAnswer('the answer holds no X509-SVID');
      throw new MalformedAnswer('the answer holds no X509-SVID with our hint', 'denied');
    }
    if (next.default.expiresAtMs <= this.#now()) {
      // Its source sends it once: a clock that is ahead at the start must not cost the identity until the next one.
      this.#taken = next;
      this.#watchExpiry();
      throw new EndedAnswer('the X509-SVID has expired');
    }
    // Agents repeat themselves: what says the same is not a rotation, and holders may compare contexts by reference.
    if (next.digest === this.#context?.digest) return;
    this.#taken = next;
    this.#begin(next);
    this.#watchExpiry();
  }

  #begin(next: X509Context): void {
    const isFirst = this.#context === undefined;
    this.#hold(next);
    const { spiffeId, serial, expiresAtMs } = next.default;
    this.#onEvent({ kind: 'svid.rotated', spiffeId: spiffeId.toString(), serial, expiresAtMs, isFirst });
  }

  /** Forgets all SVIDs and their keys. */
  drop(cause: SvidLoss): void {
    clearTimeout(this.#timer);
    this.#taken = undefined;
    this.#lose(cause);
  }

  #lose(cause: SvidLoss): void {
    const lost = this.#context;
    this.#hold(undefined);
    if (lost !== undefined) this.#onEvent({ kind: 'svid.lost', spiffeId: lost.default.spiffeId.toString(), cause });
  }

  /** Forgets all SVIDs without an event: nothing was lost, the client is done. */
  close(): void {
    clearTimeout(this.#timer);
    this.#taken = undefined;
    this.#hold(undefined);
  }

  #hold(context: X509Context | undefined): void {
    this.#context = context;
    this.#endsAtMs = Math.min(...(context?.svids.map((svid) => svid.expiresAtMs) ?? []));
  }

  #watchExpiry(): void {
    clearTimeout(this.#timer);
    const waitMs = Math.min(Math.max(this.#endsAtMs - this.#now(), 0), longestTimerMs);
    this.#timer = setTimeout(() => this.#look(), waitMs);
  }

  #look(): void {
    this.#dropExpired();
    this.#takeUpAgain();
    if (this.#taken !== undefined) this.#watchExpiry();
  }

  /** What ended by a clock that was ahead, when that was set back. */
  #takeUpAgain(): void {
    const now = this.#now();
    if (this.#taken === undefined || this.#taken.default.expiresAtMs <= now) return;
    const good = this.#taken.svids.filter((svid) => svid.expiresAtMs > now);
    if (good.length <= (this.#context?.svids.length ?? 0)) return;
    const again = good.length === this.#taken.svids.length ? this.#taken : joinSvids(good);
    if (again !== undefined) this.#begin(again);
  }

  #dropExpired(): void {
    if (this.#context === undefined) return;
    // Read once: timers come up to a millisecond early, and a clock that ticks in here would empty the context without an event.
    const now = this.#now();
    if (this.#endsAtMs > now) return;
    // Without its default the rest is not used either: changing to another identity by the passing of time would surprise everybody.
    if (this.#context.default.expiresAtMs <= now) return this.#lose('expired');
    this.#hold(joinSvids(this.#context.svids.filter((svid) => svid.expiresAtMs > now)));
  }
}
