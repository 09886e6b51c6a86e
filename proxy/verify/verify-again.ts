import { Refusal } from '../refusal.ts';
import { checkCaller } from './caller.ts';
import { readChainAgain } from './path-of-delegation.ts';
import { checkPeer } from './peer.ts';
import { checkCertificateBinding } from './presenter.ts';
import { checkCertificateAlone, type Gate, type Verified } from './verify.ts';

/**
 * Looks once more at who calls when the body has come: for that a caller may take a minute, and certificate, token or chain may have
 * ended meanwhile, or been taken back. Without a promise, unless the service of the token has to be asked again. Throws or rejects with
 * the reason that the request would be refused with if it came now.
 * @param inForce of the configuration of now: whom that lets in no more has no task to open, whichever the request began with.
 */
export function verifyAgain(verified: Verified, gate: Gate, inForce: Gate): Promise<unknown> | undefined {
  const { call, token, chain, txnToken } = verified;
  const now = gate.world.now();
  if (!gate.hasIdentity()) throw new Refusal('identity_unavailable');
  // The same for all requests of a connection, so what is found good costs a look-up.
  checkPeer(call.peer, gate.authoritiesOf, now);
  if (chain !== undefined) readChainAgain(chain, gate);
  if (txnToken !== undefined && txnToken.expiresAtMs <= now)
    throw new Refusal('token_invalid', 'The transaction token is not valid here (expired).');
  if (inForce !== gate) checkAdmission(verified, inForce);
  // Last, since nobody would hear of a service's "no" behind a check that failed meanwhile.
  const known = token === undefined ? undefined : gate.tokens.again(token);
  return known instanceof Promise ? known : undefined;
}

/** Whether `inbound.accept` and `inbound.callers` of another configuration let a verified caller in. */
function checkAdmission({ token, peer, caller }: Verified, gate: Gate): void {
  if (token === undefined) checkCertificateAlone(peer, gate);
  else {
    const taken = gate.tokens.bindingOf(token);
    if (taken.binding !== token.binding)
      throw new Refusal('token_invalid', 'The access token has to be bound in another way by now.');
    if (taken.binding === 'mtls') checkCertificateBinding(taken, peer);
  }
  checkCaller(caller, gate.callers);
}
