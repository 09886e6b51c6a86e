import type { Refusal } from '../refusal.ts';
import { renderAs, renderRefusal, type Answer } from './answer.ts';

/** Algorithms of proofs that are taken (RFC 9449 7.1). */
const algorithms = 'ES256 ES384 EdDSA Ed25519 PS256 RS256';

/** The nonce of this moment for proofs, where they are demanded. */
export type CurrentNonce = () => string | undefined;

/**
 * Renders a refusal of the way in. A token or proof that is not good is a 401 with a DPoP challenge (RFC 9449 7.1), and every one of
 * them carries the nonce: a caller that is honest needs one more round trip, once.
 */
export function renderInboundRefusal(refusal: Refusal, callId: string, nonce: CurrentNonce): Answer {
  // 421 is said by an origin only, which we are here (RFC 9110 15.5.20).
  if (refusal.code === 'authority_mismatch') return renderAs(refusal, callId, 421);
  const answer = renderRefusal(refusal, callId, false);
  if (answer.status !== 401) return answer;
  const error = errorOf(refusal.code);
  answer.headers.push(
    'WWW-Authenticate',
    `DPoP${error === undefined ? '' : ` error="${error}",`} algs="${algorithms}"`,
  );
  const current = nonce();
  if (current !== undefined) answer.headers.push('DPoP-Nonce', current);
  return answer;
}

function errorOf(code: Refusal['code']): string | undefined {
  if (code === 'token_missing') return undefined;
  if (code === 'nonce_required') return 'use_dpop_nonce';
  return code.startsWith('token_') ? 'invalid_token' : 'invalid_dpop_proof';
}
