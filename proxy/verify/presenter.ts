import type { Call } from '../intercept/call.ts';
import { ProofFault, readDpopProof, verifyDpopProof, type VerifiedProof } from '../proofs/dpop-check.ts';
import { Refusal } from '../refusal.ts';
import { isMeant } from '../trust/spiffe-pattern.ts';
import type { CallerCredential } from './credential.ts';
import type { InboundToken } from './inbound-token.ts';
import type { Peer } from './peer.ts';
import type { Gate } from './verify.ts';

/**
 * Checks the DPoP proof of a request (RFC 9449 4.3). The key is compared with the token's before the signature: anybody can make
 * proofs, and a flood of them must not cost a signature check each.
 */
export function checkProof(call: Call, credential: CallerCredential, token: InboundToken, gate: Gate): VerifiedProof {
  if (credential.proof === undefined) throw new Refusal('proof_missing');
  if (credential.hasSeveralProofs) throw new Refusal('proof_ambiguous');
  if (token.jkt === undefined) throw new Refusal('token_invalid', 'The access token is not bound to a key.');
  try {
    const proof = readDpopProof(credential.proof);
    if (proof.jkt !== token.jkt) throw new Refusal('token_foreign_presenter');
    return verifyDpopProof(proof, {
      method: call.method,
      origin: gate.origin,
      path: call.rawPath,
      ath: token.ath,
      nowMs: gate.world.now(),
      maxAgeMs: gate.window.maxAgeMs,
      futureMs: gate.window.futureMs,
    });
  } catch (error) {
    if (error instanceof ProofFault) throw new Refusal(error.reason);
    throw error;
  }
}

/**
 * Checks the nonce of a proof that is good otherwise. A proof that was spent says so even when its nonce is old: a replay is told
 * apart from a caller that is merely behind.
 */
export function checkNonce(proof: VerifiedProof, gate: Gate): void {
  if (gate.nonces === undefined) return;
  const now = gate.world.now();
  if (gate.nonces.judge(proof.nonce, now) === 'good') return;
  if (gate.spent.has({ kind: 'dpop', owner: proof.jkt, id: proof.jti }, now)) throw new Refusal('proof_reused');
  throw new Refusal('nonce_required');
}

/**
 * The certificate of the connection is the one that the token is for (RFC 8705 3), or, for a token that is bound to nothing, that of
 * the workload which the configuration names for the token's client: whoever else holds the token cannot present it.
 */
export function checkCertificateBinding(token: InboundToken, peer: Peer | undefined): void {
  if (peer === undefined)
    throw new Refusal('proof_missing', 'The access token is taken over a connection with its client certificate only.');
  if (token.kind === 'jwt-svid') {
    if (token.sub !== peer.spiffeId) throw new Refusal('token_foreign_presenter');
    return;
  }
  // Two keys mean two proofs (RFC 7800 3.1): with one of them, whoever has stolen its key would be enough.
  if (token.boundBy?.some((name) => name === 'jkt' || name === 'jwk') === true)
    throw new Refusal('token_invalid', 'The access token is bound to a key too, whose proof is not taken here.');
  const isPresenter = token.presenter === undefined ? token.x5t === peer.x5t : isMeant(peer.spiffeId, token.presenter);
  if (token.presenter === undefined && token.x5t === undefined) {
    throw new Refusal('token_invalid', 'The access token is bound neither to a certificate nor to a listed client.');
  }
  if (!isPresenter) throw new Refusal('token_foreign_presenter');
}

/** A token that came with the proof of its key, and is bound to a certificate too, needs that as well. */
export function checkOtherBinding(token: InboundToken, peer: Peer | undefined): void {
  if (token.x5t === undefined) return;
  if (peer === undefined)
    throw new Refusal('proof_missing', 'The access token is bound to a client certificate too, and came without it.');
  if (token.x5t !== peer.x5t) throw new Refusal('token_foreign_presenter');
}
