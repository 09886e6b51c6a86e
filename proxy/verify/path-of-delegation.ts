import { ChainFault, checkChain, checkChainAgain, type ChainFacts } from '../delegation/chain.ts';
import { digestOf } from '../delegation/link.ts';
import type { VerifiedProof } from '../proofs/dpop-check.ts';
import { Refusal } from '../refusal.ts';
import type { InboundToken } from './inbound-token.ts';
import type { Peer } from './peer.ts';
import type { Gate } from './verify.ts';

/** What a chain is checked against. */
export interface Presented {
  readonly value: string | undefined;
  readonly token: InboundToken | undefined;
  readonly proof: VerifiedProof | undefined;
  readonly peer: Peer | undefined;
}

/**
 * Checks the delegation chain of a request (DESIGN 6). It counts only where it is tied to this request: by the proof's claim `wbd`, or
 * by a connection whose certificate is that of the last hop. A chain that somebody could have moved here from another call is none.
 */
export function readChain({ value, token, proof, peer }: Presented, gate: Gate): ChainFacts | undefined {
  if (value === undefined) {
    // A proof that names a chain was made for a request that had one.
    if (proof?.wbd !== undefined) throw new Refusal('proof_wrong_chain');
    if (gate.chain.require) throw new Refusal('chain_missing');
    return undefined;
  }
  // Looked at before the chain itself: another chain than the proof's is a replay, whatever that chain is worth.
  if (proof !== undefined && proof.wbd !== digestOf(value)) throw new Refusal('proof_wrong_chain');
  try {
    return checkChain(value, {
      subject: subjectOf(token, gate),
      resource: gate.resource,
      presenter: { jkt: proof?.jkt, spiffeId: proof === undefined ? peer?.spiffeId : undefined },
      nowMs: gate.world.now(),
      limits: gate.chain,
      authoritiesOf: gate.authoritiesOf,
    });
  } catch (error) {
    throw asRefusal(error);
  }
}

/** Looks again at the chain of a request whose body took its time. */
export function readChainAgain(chain: ChainFacts, { world, chain: limits, authoritiesOf }: Gate): void {
  try {
    checkChainAgain(chain, { nowMs: world.now(), limits, authoritiesOf });
  } catch (error) {
    throw asRefusal(error);
  }
}

function asRefusal(error: unknown): unknown {
  return error instanceof ChainFault ? new Refusal(error.reason) : error;
}

/** Root subject that the chain has to be for: the token's, under the name that its issuer has in chains. A workload names nobody. */
function subjectOf(token: InboundToken | undefined, gate: Gate): { iss: string; sub: string } | undefined {
  if (token === undefined || token.kind === 'jwt-svid') return undefined;
  return { iss: gate.subjectMap.get(token.iss) ?? token.iss, sub: token.sub };
}
