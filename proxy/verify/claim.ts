import type { VerifiedProof } from '../proofs/dpop-check.ts';
import type { Claims, Spendable } from '../replay/claim.ts';
import { Refusal } from '../refusal.ts';
import type { World } from '../world.ts';
import type { InboundToken } from './inbound-token.ts';
import type { Verified } from './verify.ts';

/** A verified request whose proof is spent: no second request can be made of it. */
class ClaimedCall {
  readonly #made = true;
  readonly verified: Verified;

  constructor(verified: Verified) {
    this.verified = verified;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Claimed = ClaimedCall;

/** What claiming asks. */
export interface Spending {
  readonly world: World;
  readonly spent: Claims;
  readonly window: { readonly maxAgeMs: number; readonly futureMs: number };
  /** Milliseconds since the epoch at which this process began to remember. */
  readonly startedAtMs: number;
  /** Whether nonces of this process tell proofs from before its start: then none needs to be refused for its age. */
  readonly hasNonces: boolean;
  /** Whether an access token is good for one request (`inbound.token.once`). */
  readonly tokensOnce: boolean;
  /** The trust domain whose transactions are good for one request each (`inbound.txn_token.once`). */
  readonly txnOnceIn: string | undefined;
}

/**
 * Spends the proof of a verified request, and its token where that is for one use: an atomic verb each, after everything else was found
 * good (W6). Two equal requests that race find one winner; who was never verified cannot fill the ledger.
 */
export function claim(verified: Verified, spending: Spending): Claimed {
  const { proof, token, txnToken } = verified;
  const now = spending.world.now();
  // They were good when the head came; the body may have taken longer.
  if (token !== undefined && token.expiresAtMs <= now) throw expired();
  if (proof !== undefined) claimProof(proof, now, spending);
  if (spending.tokensOnce && token?.kind === 'access') claimToken(token, proof?.jkt ?? token.ath, now, spending);
  if (spending.txnOnceIn !== undefined && txnToken !== undefined) {
    checkIssued(txnToken.iatSeconds * 1000, now, spending);
    const { txn: id, expiresAtMs } = txnToken;
    spend(
      { kind: 'token', owner: `txn ${spending.txnOnceIn}`, id, expiresAtMs },
      proof?.jkt ?? verified.caller,
      now,
      spending,
    );
  }
  return new ClaimedCall(verified);
}

function claimProof({ iatSeconds, jkt, jti }: VerifiedProof, now: number, spending: Spending): void {
  const madeAtMs = iatSeconds * 1000;
  const { maxAgeMs, futureMs } = spending.window;
  // Without nonces, a proof from before the start may have been spent then, and nobody here remembers.
  if (!spending.hasNonces) checkWarm(madeAtMs, spending);
  // Remembered until no clock of ours would take it any more.
  const expiresAtMs = madeAtMs + maxAgeMs + futureMs + 1000;
  // It was young enough when it came, but its body took longer: what nobody would remember must not pass.
  if (expiresAtMs <= now) throw new Refusal('proof_expired');
  const outcome = spending.spent.claim({ kind: 'dpop', owner: jkt, id: jti, expiresAtMs }, jkt, now);
  if (outcome !== 'claimed') throw new Refusal(outcome === 'spent' ? 'proof_reused' : 'ledger_full');
}

/** By issuer and `jti`, never by its text: with most algorithms one token can be given a second signature (PROTOCOLS 2). */
function claimToken(
  { iss, jti, claims, expiresAtMs }: InboundToken,
  presenter: string,
  now: number,
  spending: Spending,
): void {
  if (jti === undefined) throw new Refusal('token_invalid', 'A token for one use needs a jti.');
  const { iat } = claims;
  checkIssued(typeof iat === 'number' ? iat * 1000 : 0, now, spending);
  spend({ kind: 'token', owner: iss, id: jti, expiresAtMs }, presenter, now, spending);
}

function spend(thing: Spendable, presenter: string, now: number, { spent }: Spending): void {
  if (thing.expiresAtMs <= now) throw expired();
  const outcome = spent.claim(thing, presenter, now);
  if (outcome !== 'claimed') throw new Refusal(outcome === 'spent' ? 'token_spent' : 'ledger_full');
}

/**
 * No nonce is in a token for one use: one from before our start is refused, whatever its proof, for it may have been used then. So is one
 * that is further ahead of our clock than a proof may be: it was used before the start, and says that it was issued behind it.
 */
function checkIssued(issuedAtMs: number, now: number, spending: Spending): void {
  if (issuedAtMs > now + spending.window.futureMs)
    throw new Refusal(
      'token_invalid',
      'The access token is for one use, and says that it was issued in the future (iat).',
    );
  checkWarm(issuedAtMs, spending);
}

function checkWarm(madeAtMs: number, { startedAtMs, window }: Spending): void {
  if (madeAtMs <= startedAtMs + window.futureMs + 1000) throw new Refusal('ledger_warming');
}

function expired(): Refusal {
  return new Refusal('token_invalid', 'The access token is not valid here (expired).');
}
