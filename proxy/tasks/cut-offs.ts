import type { Freshness } from './freshness.ts';
import { agentsOf, keyOf, tokensOf, type Belonging, type Principal } from './principals.ts';
import { RevokedTxns, type RevokedTxn, type Transacted } from './revoked-txns.ts';
import type { TaskChain } from './task.ts';

/** From when on a revoked principal counts again: what was issued before opens no task. */
export interface CutOff {
  readonly principal: Principal;
  /** Milliseconds since the epoch. */
  readonly beforeMs: number;
}

/** All that is kept over a restart. */
export interface Revocations {
  readonly cutOffs: readonly CutOff[];
  readonly txns: readonly RevokedTxn[];
}

/** A request for a task, as cut-offs see it. */
export interface Opening extends Belonging, Transacted {
  /** When the token was issued that it comes with, or without one the certificate. Unknown is before any cut-off. */
  readonly issuedAtMs?: number | undefined;
  /** When the certificate of its caller was issued. */
  readonly callerIssuedAtMs?: number | undefined;
  readonly standing?: boolean;
}

/** Beyond, the oldest becomes one for all that was issued before: whatever is forgotten is refused, never let in. */
export const maxCutOffs = 4096;

/**
 * The cut-offs of the kill switch. A revocation ends what is open at that moment; a cut-off keeps the same principal from coming back with
 * a token that was issued before.
 */
export class CutOffs {
  readonly txns: RevokedTxns;
  /** How long they count as all that there are. */
  readonly freshness: Freshness;
  readonly #ownAgent: (() => readonly string[]) | undefined;
  /** Oldest first. */
  readonly #kept = new Map<string, CutOff>();
  #onForgotten: (() => void) | undefined;

  /**
   * @param ownAgent all names that our own agent has had; asked each time, since its SPIFFE ID may come late. Undefined for the cut-offs
   * of several sidecars: any agent may be one's own.
   */
  constructor(ownAgent: (() => readonly string[]) | undefined, { cutOffs, txns }: Revocations, freshness: Freshness) {
    this.#ownAgent = ownAgent;
    this.freshness = freshness;
    this.txns = new RevokedTxns(txns);
    for (const { principal, beforeMs } of cutOffs) this.add(principal, beforeMs);
  }

  /** Whether they are all that there are, as far as can be known: false while the store of a fleet is silent. */
  get isCurrent(): boolean {
    return this.freshness.isFresh;
  }

  get ownAgent(): readonly string[] {
    return this.#ownAgent?.() ?? [];
  }

  /** @param listener called once, when there is more than can be kept; also where that was before. */
  onForgotten(listener: () => void): void {
    if (this.#kept.has(keyOf(forgotten))) listener();
    else this.#onForgotten = listener;
  }

  /** Those that hold, oldest first. */
  list(): readonly CutOff[] {
    return [...this.#kept.values()];
  }

  /** A second one of the same principal takes the place of the first, and never an earlier time. */
  add(principal: Principal, beforeMs: number): void {
    const key = keyOf(principal);
    const later = Math.max(beforeMs, this.#kept.get(key)?.beforeMs ?? 0);
    this.#kept.delete(key);
    this.#kept.set(key, { principal, beforeMs: later });
    if (principal.kind === 'forgotten') {
      this.#onForgotten?.();
      this.#onForgotten = undefined;
    }
    if (this.#kept.size > maxCutOffs) this.#forgetOne();
  }

  #forgetOne(): void {
    const own = this.#ownAgent?.();
    // What stops a standing task too is kept while there is anything else, and then only everything stands for it.
    const oldest = this.#findOldest((one) => stopsTokensOnly(one, own));
    const found = oldest ?? this.#findOldest(({ kind }) => kind !== 'all' && kind !== 'forgotten');
    if (found === undefined) return;
    this.#kept.delete(keyOf(found.principal));
    this.add(oldest === undefined ? { kind: 'all' } : forgotten, found.beforeMs);
  }

  /** By its time: those of a fleet come in any order. */
  #findOldest(isMeant: (principal: Principal) => boolean): CutOff | undefined {
    let oldest: CutOff | undefined;
    for (const cutOff of this.#kept.values()) {
      if (cutOff.beforeMs < (oldest?.beforeMs ?? Infinity) && isMeant(cutOff.principal)) oldest = cutOff;
    }
    return oldest;
  }

  /** Whether a cut-off would change nothing: what it stops is stopped already. */
  covers(principal: Principal, beforeMs: number): boolean {
    return (this.#kept.get(keyOf(principal))?.beforeMs ?? -1) >= beforeMs;
  }

  /** Why a task may not be opened; undefined where it may. The standing task only waits: its calls are refused for as long. */
  objectionTo(opening: Opening): 'revoked' | 'not_current' | undefined {
    if (this.stops(opening)) return 'revoked';
    return this.isCurrent || opening.standing === true ? undefined : 'not_current';
  }

  /** Whether a task may not be open, because what it comes with was issued before a cut-off, or is part of a revoked transaction. */
  stops(opening: Opening): boolean {
    if (this.txns.isIn(opening)) return true;
    if (this.#kept.size === 0) return false;
    const { subject, grant, issuedAtMs, callerIssuedAtMs, caller, chain } = opening;
    const { iss, sub } = subject;
    // A token that was named itself stays out, whenever it was issued.
    if (tokensOf(opening).some((token) => this.#kept.has(keyOf(token)))) return true;
    if (chain !== undefined && this.#stopsRoot(chain, grant === undefined ? Infinity : issuedAtMs)) return true;
    if (this.#isBefore({ kind: 'all' }, issuedAtMs) || this.#mayBeForgotten(opening)) return true;
    if (this.#isBefore({ kind: 'subject', iss, sub }, issuedAtMs)) return true;
    for (const id of agentsOf(opening, this.ownAgent)) {
      // A caller whose key is in wrong hands could ask its issuer for a new token; a new SVID it gets by attestation only.
      const isOldCaller = id === caller && callerIssuedAtMs !== undefined;
      if (this.#isBefore({ kind: 'agent', id }, issuedAtMs)) return true;
      if (isOldCaller && this.#isBefore({ kind: 'agent', id }, callerIssuedAtMs)) return true;
    }
    return false;
  }

  /** It may have been this token or its user, who calls, or whom the chain began with. */
  #mayBeForgotten({ standing, issuedAtMs, callerIssuedAtMs, chain }: Opening): boolean {
    if (standing === true) return false;
    const earliestMs = Math.min(issuedAtMs ?? -Infinity, callerIssuedAtMs ?? Infinity, chain?.begunAtMs ?? Infinity);
    return this.#isBefore(forgotten, earliestMs);
  }

  /** Whom a chain began with, as its first hop knows him: the request may come with a token of another issuer, or with none. */
  #stopsRoot({ root, begunAtMs }: TaskChain, issuedAtMs: number | undefined): boolean {
    const { iss, sub } = root;
    return this.#isBefore(
      { kind: 'subject', iss, sub },
      issuedAtMs === undefined ? undefined : Math.min(begunAtMs, issuedAtMs),
    );
  }

  /** Which of these tools a task gets no credentials for. */
  closedTools(tools: ReadonlySet<string>, issuedAtMs: number | undefined): ReadonlySet<string> {
    if (this.#kept.size === 0) return none;
    return new Set([...tools].filter((name) => this.#isBefore({ kind: 'tool', name }, issuedAtMs)));
  }

  #isBefore(principal: Principal, issuedAtMs: number | undefined): boolean {
    const cutOff = this.#kept.get(keyOf(principal));
    return cutOff !== undefined && (issuedAtMs === undefined || issuedAtMs < cutOff.beforeMs);
  }
}

const none: ReadonlySet<string> = new Set();
const forgotten: Principal = { kind: 'forgotten' };

/** Whether a principal is stopped by what it comes with alone: the standing task comes with nothing. */
function stopsTokensOnly(principal: Principal, own: readonly string[] | undefined): boolean {
  const isOwn = (name: string): boolean => own === undefined || own.includes(name);
  if (principal.kind === 'agent') return !isOwn(principal.id);
  // Without an issuer it is a workload, and the agent here may be its own subject.
  if (principal.kind === 'subject') return principal.iss !== '' || !isOwn(principal.sub);
  return principal.kind === 'token';
}
