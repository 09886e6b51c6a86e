import type { PresenterShares } from './presenter-shares.ts';

/** `full`: it cannot be vouched for, so it must be refused. That is no sign of a replay, and passes with time. */
export type ClaimResult = 'claimed' | 'spent' | 'full';

/** Port: what was used once, until the end of its validity. */
export interface ReplayLedger {
  /**
   * Spends a thing, or says that it cannot: one atomic verb, since between a look and a write the same thing could come again (W6).
   * The answer is never `claimed` twice for one input and one expiry, whatever the clock does: once it was seen behind the expiry, the
   * thing may be forgotten, and is not vouched for any more if the clock goes back.
   * @param fingerprintInput of `claimKey`. @param expiresAtMs Last millisecond at which the thing would be accepted.
   */
  claim(fingerprintInput: string, expiresAtMs: number, nowMs: number): ClaimResult;
  /**
   * What `claim` would say behind so many other claims. Spends nothing: good for spending several things or none of them, within one turn of
   * the loop.
   */
  foresee(fingerprintInput: string, expiresAtMs: number, nowMs: number, before: number): ClaimResult;
  /** Whether it is known to be spent. Spends nothing: good for choosing a reason, never for letting in. */
  has(fingerprintInput: string, nowMs: number): boolean;
  /** Tells the time: entries end also while nothing is claimed. */
  advance(nowMs: number): void;
  /** Live entries at the latest time that the ledger was told. */
  readonly entries: number;
}

/** What can be spent. Ids of different classes never meet (PROTOCOLS 5.7). */
export type SpentClass = 'dpop' | 'token' | 'signal';

/**
 * The input of a fingerprint: class, owner and id, so that nobody can spend the `jti` of somebody else (PROTOCOLS 2).
 * @param owner Who chooses the id: the thumbprint of a proof's key, the issuer of a token.
 */
export function claimKey(kind: SpentClass, owner: string, id: string): string {
  // The length in front makes it one to one: no owner can be continued in an id.
  return `${kind} ${owner.length} ${owner} ${id}`;
}

/** Something good for one use, by somebody who was verified. */
export interface Spendable {
  readonly kind: SpentClass;
  readonly owner: string;
  readonly id: string;
  readonly expiresAtMs: number;
}

/** It with who brings it: the thumbprint of the key that proves the call, or another name of the verified caller. */
export interface Presented {
  readonly thing: Spendable;
  readonly presenter: string;
}

/** What came of it; `presenter_full`: this presenter holds its whole share of the ledger; the others are served. */
export type SpendResult =
  | { readonly said: 'claimed' }
  | { readonly said: 'spent' | 'full' | 'presenter_full'; readonly thing: Spendable };

const claimed: SpendResult = { said: 'claimed' };

/** The ledger with a share for each presenter, so that no verified caller fills it for the others (DESIGN 7). */
export class Claims {
  readonly #ledger: ReplayLedger;
  readonly #shares: PresenterShares;

  constructor(ledger: ReplayLedger, shares: PresenterShares) {
    this.#ledger = ledger;
    this.#shares = shares;
  }

  /**
   * Spends all that a call brings, or nothing of it, once everything else about the call was verified (W6): an unverified caller must not be
   * able to write here.
   */
  claim(things: readonly Presented[], nowMs: number): SpendResult {
    // A proof that is spent where its token finds no room makes a replay of whoever does as the refusal says, and sends it again.
    const lack = things.length > 1 ? this.#foresee(things, nowMs) : undefined;
    if (lack !== undefined) return lack;
    for (const one of things) {
      const result = this.#claimOne(one, nowMs);
      if (result.said !== 'claimed') return result;
    }
    return claimed;
  }

  #claimOne({ thing, presenter }: Presented, nowMs: number): SpendResult {
    const key = claimKey(thing.kind, thing.owner, thing.id);
    const share = this.#shares.shareOf(presenter);
    // Looked up all the same: a replay is told as a replay, also to who has no share left.
    if (this.#shares.isUsedUp(share, nowMs))
      return { said: this.#ledger.has(key, nowMs) ? 'spent' : 'presenter_full', thing };
    const said = this.#ledger.claim(key, thing.expiresAtMs, nowMs);
    if (said !== 'claimed') return { said, thing };
    this.#shares.add(share, thing.expiresAtMs);
    return claimed;
  }

  /** Why not all of them can be spent; undefined where they can. One that was spent tells more than one that finds no room. */
  #foresee(things: readonly Presented[], nowMs: number): SpendResult | undefined {
    let lack: SpendResult | undefined;
    const shares = things.map(({ presenter }) => this.#shares.shareOf(presenter));
    for (const [at, { thing }] of things.entries()) {
      const key = claimKey(thing.kind, thing.owner, thing.id);
      const said = this.#ledger.foresee(key, thing.expiresAtMs, nowMs, at);
      if (said === 'spent') return { said, thing };
      const share = shares[at] ?? 0;
      const before = shares.slice(0, at).filter((other) => other === share).length;
      if (said === 'full') lack ??= { said, thing };
      else if (this.#shares.isUsedUp(share, nowMs, before)) lack ??= { said: 'presenter_full', thing };
    }
    return lack;
  }

  /** Whether it was spent: an old nonce on a spent proof is still a replay (WIRE 4). */
  has({ kind, owner, id }: Omit<Spendable, 'expiresAtMs'>, nowMs: number): boolean {
    return this.#ledger.has(claimKey(kind, owner, id), nowMs);
  }

  /** How many things are remembered: of a ledger that nobody uses too, it falls to 0. */
  entriesAt(nowMs: number): number {
    this.#ledger.advance(nowMs);
    return this.#ledger.entries;
  }
}
