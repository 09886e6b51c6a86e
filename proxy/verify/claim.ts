import type { VerifiedProof } from '../proofs/dpop-check.ts';
import type { Claims, Presented, Spendable } from '../replay/claim.ts';
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
 * Spends the proof of a verified request, and its token where that is for one use: one atomic verb for all, after everything else was found
 * good (W6). Two equal requests that race find one winner; who was never verified cannot fill the ledger. All that can only refuse is
 * looked at first: a refusal that spends a proof makes a replay of whoever does as it says, and sends it again.
 * @param lack Why the request could not be done if it were claimed. Nothing is spent then, and a replay is told as a replay all the same.
 */
export function claim(verified: Verified, spending: Spending, lack?: Refusal): Claimed {
  const { proof, token, txnToken } = verified;
  const now = spending.world.now();
  // They were good when the head came; the body may have taken longer.
  if (token !== undefined && token.expiresAtMs <= now) throw expired();
  const presenter = proof?.jkt ?? verified.caller;
  const things: Presented[] = [];
  if (proof !== undefined) things.push({ thing: proofOnce(proof, now, spending), presenter: proof.jkt });
  if (spending.tokensOnce && token?.kind === 'access')
    things.push({ thing: tokenOnce(token, now, spending), presenter: proof?.jkt ?? token.ath });
  if (spending.txnOnceIn !== undefined && txnToken !== undefined) {
    checkIssued(txnToken.iatSeconds * 1000, now, spending);
    const { txn: id, expiresAtMs } = txnToken;
    things.push({ thing: { kind: 'token', owner: `txn ${spending.txnOnceIn}`, id, expiresAtMs }, presenter });
  }
  for (const { thing } of things) if (thing.expiresAtMs <= now) throw expired();
  if (lack !== undefined) {
    for (const { thing } of things) if (spending.spent.has(thing, now)) throw usedBefore(thing);
    throw lack;
  }
  const result = spending.spent.claim(things, now);
  if (result.said === 'spent') throw usedBefore(result.thing);
  if (result.said !== 'claimed') throw new Refusal('ledger_full');
  return new ClaimedCall(verified);
}

function proofOnce({ iatSeconds, jkt, jti }: VerifiedProof, now: number, spending: Spending): Spendable {
  const madeAtMs = iatSeconds * 1000;
  const { maxAgeMs, futureMs } = spending.window;
  // Without nonces, a proof from before the start may have been spent then, and nobody here remembers.
  if (!spending.hasNonces && !isWarm(madeAtMs, spending)) throw new Refusal('ledger_warming');
  // Remembered until no clock of ours would take it any more.
  const expiresAtMs = madeAtMs + maxAgeMs + futureMs + 1000;
  // It was young enough when it came, but its body took longer: what nobody would remember must not pass.
  if (expiresAtMs <= now) throw new Refusal('proof_expired');
  return { kind: 'dpop', owner: jkt, id: jti, expiresAtMs };
}

/** By issuer and `jti`, never by its text: with most algorithms one token can be given a second signature (PROTOCOLS 2). */
function tokenOnce({ iss, jti, claims, expiresAtMs }: InboundToken, now: number, spending: Spending): Spendable {
  if (jti === undefined) throw new Refusal('token_invalid', 'A token for one use needs a jti.');
  const { iat } = claims;
  // Taken for one from before our start it would be refused for ever, by a refusal that asks to wait.
  if (typeof iat !== 'number') throw new Refusal('token_invalid', 'A token for one use needs an iat.');
  checkIssued(iat * 1000, now, spending);
  return { kind: 'token', owner: iss, id: jti, expiresAtMs };
}

function usedBefore({ kind }: Spendable): Refusal {
  return new Refusal(kind === 'dpop' ? 'proof_reused' : 'token_spent');
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
  if (!isWarm(issuedAtMs, spending)) {
    const why = 'The token is for one use, and from before the start of this sidecar: it may have been used then.';
    throw new Refusal(
      'ledger_warming',
      why,
      undefined,
      'Get a new token, and try again after the time in Retry-After.',
    );
  }
}

function isWarm(madeAtMs: number, { startedAtMs, window }: Spending): boolean {
  return madeAtMs > startedAtMs + window.futureMs + 1000;
}

function expired(): Refusal {
  return new Refusal('token_invalid', 'The access token is not valid here (expired).');
}
