import type { Credential } from '../exchange/credential.ts';
import { makeDpopProof } from '../proofs/dpop.ts';
import type { World } from '../world.ts';
import type { ToolNonces } from './nonces.ts';

/** A call with everything that binds it: credential and proof for this one send. */
class BoundCall {
  readonly #made = true;
  readonly credential: Credential;
  /** 1, or 2 after a challenge. */
  readonly attempt: number;
  /** Headers to inject, flat: `Authorization`, and `DPoP` where the tool takes proofs. */
  readonly #injected: readonly string[];
  readonly proof: { readonly kind: 'dpop'; readonly id: string } | undefined;

  constructor(credential: Credential, attempt: number, injected: readonly string[], proof: BoundCall['proof']) {
    this.credential = credential;
    this.attempt = attempt;
    this.#injected = injected;
    this.proof = proof;
  }

  /** The headers that carry the credential. Only the header list that goes to the tool may hold them. */
  revealInjected(): readonly string[] {
    return this.#injected;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Bound = BoundCall;

const nothing: readonly string[] = [];

/**
 * Binds a credential to this one send. The proof names the method and the URL that the tool sees (RFC 9449 4.2), is fresh for every
 * send, and carries the tool's newest nonce.
 */
export function bind(credential: Credential, attempt: number, nonces: ToolNonces, world: World): Bound {
  const { held, routed } = credential;
  if (held === undefined) return new BoundCall(credential, attempt, nothing, undefined);
  const { token, order } = held;
  if (order.proofKey === undefined) {
    return new BoundCall(credential, attempt, ['Authorization', token.authorization()], undefined);
  }
  const { call } = routed.permit.attributed;
  const jti = world.random(16).toString('base64url');
  const proof = makeDpopProof(order.proofKey, {
    htm: call.method,
    htu: call.target.origin.text + call.rawPath,
    iatSeconds: Math.floor(world.now() / 1000),
    jti,
    ath: token.ath,
    nonce: nonces.newest(order.toolOrigin),
  });
  return new BoundCall(credential, attempt, ['Authorization', token.authorization(), 'DPoP', proof], {
    kind: 'dpop',
    id: jti,
  });
}
