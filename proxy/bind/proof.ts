import type { Credential } from '../exchange/credential.ts';
import type { CallBody } from '../intercept/body.ts';
import type { Call } from '../intercept/call.ts';
import { makeDpopProof } from '../proofs/dpop.ts';
import { Refusal } from '../refusal.ts';
import type { Errand, Task } from '../tasks/task.ts';
import type { World } from '../world.ts';
import type { CallChain } from './task-links.ts';

/** A call with everything that binds it: credential and proof for this one send. */
class BoundCall {
  readonly #made = true;
  readonly way = 'out';
  readonly credential: Credential;
  /** 1, or 2 after a challenge. */
  readonly attempt: number;
  /** Headers to inject, flat: `Authorization`, and `DPoP` where the tool takes proofs. */
  readonly #injected: readonly string[];
  /** SPIFFE IDs of the hops of the call, oldest first, ours with them: as it names them, or for a static key as the record alone does. */
  readonly chain: readonly string[];
  /** `id` is the `jti` of a DPoP proof, or the thumbprint of the certificate that the token is bound to. */
  readonly proof: { readonly kind: 'dpop' | 'mtls'; readonly id: string } | undefined;

  constructor(
    credential: Credential,
    attempt: number,
    injected: readonly string[],
    proof: BoundCall['proof'],
    chain: CallChain | undefined,
  ) {
    this.credential = credential;
    this.attempt = attempt;
    this.#injected = injected;
    this.proof = proof;
    this.chain = chain?.path ?? noHops;
  }

  get call(): Call {
    return this.credential.routed.permit.attributed.call;
  }

  get host(): string {
    return this.call.target.origin.authority;
  }

  /** The agent's own headers that may go on. */
  get passed(): Call['headers'] {
    return this.call.headers;
  }

  get body(): CallBody {
    return this.credential.routed.body;
  }

  /** The task whose end cuts this call. */
  get task(): Task | undefined {
    return this.credential.routed.permit.attributed.errand?.task;
  }

  /** Whether cookies are between agent and tool: with a session that a credential opened, the agent would need us no more. */
  get keepsCookies(): boolean {
    return cookiesOf(this.call) === 'pass';
  }

  /** Whose cookies the sidecar keeps: those of this task at this tool. Undefined where it keeps none. */
  get cookieOwner(): Errand | undefined {
    return cookiesOf(this.call) === 'hold' ? this.credential.routed.permit.attributed.errand : undefined;
  }

  get keepsCredentials(): boolean {
    return !this.call.tool.credentialed;
  }

  get ownName(): undefined {
    return undefined;
  }

  /** The agent makes no proofs. */
  get passesNonce(): boolean {
    return false;
  }

  get answersChallenges(): boolean {
    return this.call.tool.credentialed;
  }

  /** What the agent must not find in the answer (W3); undefined where answers are not screened. */
  get screened(): readonly { reveal(): string }[] | undefined {
    return this.call.tool.settings.unsafe_response_screen === 'off' ? undefined : this.secrets;
  }

  /** What the tool learns with this call: the credential, the one before it, and the transaction token beside it. */
  get secrets(): readonly { reveal(): string }[] | undefined {
    const { held } = this.credential;
    if (held === undefined) return undefined;
    const own = held.order === undefined ? held.token.screened() : [held.token, held.before];
    return [...own, held.txnToken].filter((one) => one !== undefined);
  }

  /** The headers that carry the credential. Only the header list that goes to the tool may hold them. */
  revealInjected(): readonly string[] {
    return this.#injected;
  }

  /**
   * What stands on the request line: the decided target byte for byte (W13), and behind it a static key of a tool that takes it in the
   * query. Only the request to the tool may hold it.
   */
  revealPath(): string {
    const { path } = this.call.target;
    const { held } = this.credential;
    const query = held?.order === undefined ? held?.token.query() : undefined;
    return query === undefined ? path : `${path}${path.includes('?') ? '&' : '?'}${query}`;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Bound = BoundCall;

function cookiesOf({ tool }: Call): 'hold' | 'strip' | 'pass' {
  return tool.settings.cookies ?? (tool.credentialed ? 'hold' : 'pass');
}

const nothing: readonly string[] = [];
const noHops: readonly string[] = [];

/** One send of a call. */
export interface Send {
  /** 1, or 2 after a challenge. */
  readonly attempt: number;
  /** The delegation chain that goes along, if one does. */
  readonly chain: CallChain | undefined;
  /** Newest DPoP nonce of the connection, else of the origin. */
  readonly nonce: string | undefined;
}

/**
 * Binds a credential to this one send. The proof names the method and the URL that the tool sees (RFC 9449 4.2), is fresh for every
 * send, and carries the tool's newest nonce.
 */
export function bind(credential: Credential, send: Send, world: World): Bound {
  const { attempt, chain, nonce } = send;
  const { held, routed } = credential;
  if (held === undefined) return new BoundCall(credential, attempt, nothing, undefined, undefined);
  // The tool may have been asked for its nonce meanwhile, or the token have waited for another beside it.
  if (!credential.isUsable(world.now()))
    throw new Refusal('token_service_unavailable', 'The token ended before the call could leave; try again.');
  const injected = [...held.token.headers()];
  if (held.txnToken !== undefined) injected.push('Txn-Token', held.txnToken.reveal());
  if (chain?.value !== undefined) injected.push('Waybill-Delegation', chain.value);
  if (held.order?.certificate !== undefined) {
    // Nothing is added: the proof is the connection, and `forward` looks at it.
    const shown = { kind: 'mtls', id: held.order.certificate.thumbprint } as const;
    return new BoundCall(credential, attempt, injected, shown, chain);
  }
  if (held.order === undefined || held.order.proofKey === undefined)
    return new BoundCall(credential, attempt, injected, undefined, chain);
  const { call } = routed.permit.attributed;
  const jti = world.random(16).toString('base64url');
  const proof = makeDpopProof(held.order.proofKey, {
    htm: call.method,
    htu: call.target.origin.text + call.rawPath,
    iatSeconds: Math.floor(world.now() / 1000),
    jti,
    ath: held.token.ath,
    nonce,
    // DPoP covers no header: without this claim, the chain of one call could be moved to another (DESIGN 6).
    wbd: chain?.digest,
  });
  injected.push('DPoP', proof);
  return new BoundCall(credential, attempt, injected, { kind: 'dpop', id: jti }, chain);
}
