import type { Call } from '../intercept/call.ts';
import type { ChainFacts, ChainLimits } from '../delegation/chain.ts';
import type { VerifiedProof } from '../proofs/dpop-check.ts';
import type { Claims } from '../replay/claim.ts';
import type { ServerNonces } from '../replay/nonces.ts';
import { Refusal } from '../refusal.ts';
import type { SpiffePattern } from '../trust/spiffe-pattern.ts';
import type { World } from '../world.ts';
import { callerOf, checkCaller } from './caller.ts';
import { readCallerCredential, type CallerCredential } from './credential.ts';
import type { InboundToken, InboundTokens } from './inbound-token.ts';
import type { InboundTxnToken, InboundTxnTokens } from './inbound-txn-token.ts';
import { readChain } from './path-of-delegation.ts';
import { checkPeer, type AuthoritiesOf, type Peer } from './peer.ts';

import { checkCertificateBinding, checkNonce, checkOtherBinding, checkProof } from './presenter.ts';
import { checkQuery } from './second-token.ts';
import type { Together } from './together.ts';

/** A request of the way in of which is known who sent it, for whom, along which path. */
class VerifiedCall {
  readonly #made = true;
  readonly call: Call;
  readonly credential: CallerCredential;
  /** Undefined for a caller that is known by its certificate alone. */
  readonly token: InboundToken | undefined;
  readonly peer: Peer | undefined;
  readonly proof: VerifiedProof | undefined;
  readonly chain: ChainFacts | undefined;
  /** The transaction token that came along, where such tokens are taken. */
  readonly txnToken: InboundTxnToken | undefined;
  /** SPIFFE ID of the workload that calls, or empty: a user's own client has none. */
  readonly caller: string;

  constructor(parts: Omit<VerifiedCall, 'made'>) {
    this.call = parts.call;
    this.credential = parts.credential;
    this.token = parts.token;
    this.peer = parts.peer;
    this.proof = parts.proof;
    this.chain = parts.chain;
    this.txnToken = parts.txnToken;
    this.caller = parts.caller;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Verified = VerifiedCall;

/** What is known of a caller: of one that is refused, as much as was found good by then. */
export type CallerFacts = Pick<VerifiedCall, 'token' | 'proof' | 'chain' | 'caller'>;

/** A refusal of a caller of whom something is known: a replay without the name of its victim would help nobody. */
export class CallerRefusal extends Refusal {
  readonly known: CallerFacts;

  constructor({ code, detail, retryAfter, hint, serviceError }: Refusal, known: CallerFacts) {
    super(code, detail, retryAfter, hint, serviceError);
    this.known = known;
  }
}

/** What verification asks. */
export interface Gate {
  readonly world: World;
  /** Whether we may answer: false for a way in with TLS by SVID that has none any more. */
  readonly hasIdentity: () => boolean;
  /** Whether what is known here of revocations is all that there is. */
  readonly revocations: { readonly isCurrent: boolean };
  readonly tokens: InboundTokens;
  readonly together: Together<Verified>;
  readonly authoritiesOf: AuthoritiesOf;
  readonly spent: Claims;
  /** Undefined where no transaction tokens are taken: they are then removed unread. */
  readonly txnTokens: InboundTxnTokens | undefined;
  /** Undefined where proofs are taken without nonces (`replay.nonce: off`). */
  readonly nonces: ServerNonces | undefined;
  readonly origin: string;
  readonly resource: string;
  readonly acceptsCertificateAlone: ReadonlySet<string>;
  readonly callers: readonly SpiffePattern[];
  readonly chain: ChainLimits & { readonly require: boolean };
  readonly subjectMap: ReadonlyMap<string, string>;
  /** Oldest and newest `iat` of a proof, milliseconds from now. */
  readonly window: { readonly maxAgeMs: number; readonly futureMs: number };
}

/**
 * Verifies a request in the order of WIRE 4: token, then the key of its presenter (before any proof signature is looked at, so that
 * self-made proofs cost nothing), then the proof, its nonce, and the chain. Throws or rejects with the reason of the first that fails.
 */
export function verify(call: Call, gate: Gate): Promise<Verified> {
  // A connection outlives the SVID that it was opened with; who we were then, nobody vouches for now.
  if (!gate.hasIdentity()) throw new Refusal('identity_unavailable');
  // No task could be opened. To say so only then would spend the proof, and who sends it again would be a replay.
  if (!gate.revocations.isCurrent) throw new Refusal('fleet_unavailable');
  const verified = verifyCaller(call, gate);
  const { txnTokens } = gate;
  return txnTokens === undefined ? verified : verified.then((caller) => withTxnToken(caller, txnTokens));
}

/** The transaction token comes last: whose it may be is known only when the caller is. */
async function withTxnToken(verified: Verified, txnTokens: InboundTxnTokens): Promise<Verified> {
  const { call, credential, token, peer, proof, chain, caller } = verified;
  try {
    const subject = token?.kind === 'access' ? token.sub : undefined;
    const txnToken = await txnTokens.read(credential.txnToken, subject);
    return new VerifiedCall({ call, credential, token, peer, proof, chain, txnToken, caller });
  } catch (error) {
    throw error instanceof Refusal ? new CallerRefusal(error, verified) : error;
  }
}

function verifyCaller(call: Call, gate: Gate): Promise<Verified> {
  const peer = checkPeer(call.peer, gate.authoritiesOf, gate.world.now());
  const credential = readCallerCredential(call.headers);
  const token =
    credential.token === undefined ? checkCertificateAlone(peer, gate) : gate.tokens.verify(credential.token);
  if (token instanceof Promise)
    return token.then((verified) => verifyPresenter(call, credential, verified, peer, gate));
  // A token that is known is here at once: what is left is the proof, which is checked with those of the same turn.
  return gate.together.run(() => verifyPresenter(call, credential, token, peer, gate));
}

/** Everything after the token: whether it is the caller's, and the rest of what came with it. */
function verifyPresenter(
  call: Call,
  credential: CallerCredential,
  token: InboundToken | undefined,
  peer: Peer | undefined,
  gate: Gate,
): Verified {
  const known: Known = { token, proof: undefined, chain: undefined, caller: peer?.spiffeId ?? '' };
  try {
    if (token !== undefined) checkScheme(token, credential);
    if (credential.token !== undefined) checkQuery(call, credential.token);
    const proof = token?.binding === 'dpop' ? checkProof(call, credential, token, gate) : undefined;
    known.proof = proof;
    if (token?.binding === 'mtls') checkCertificateBinding(token, peer);
    else if (token !== undefined) checkOtherBinding(token, peer);
    if (proof !== undefined) checkNonce(proof, gate);
    const chain = readChain({ value: credential.chain, token, proof, peer }, gate);
    known.chain = chain;
    const caller = callerOf(token, peer, chain);
    known.caller = caller;
    checkCaller(caller, gate.callers);
    return new VerifiedCall({ call, credential, token, peer, proof, chain, txnToken: undefined, caller });
  } catch (error) {
    throw error instanceof Refusal ? new CallerRefusal(error, known) : error;
  }
}

type Known = { -readonly [Fact in keyof CallerFacts]: CallerFacts[Fact] };

/** A certificate of a domain that is accepted alone is enough; else `token_missing`. */
export function checkCertificateAlone(peer: Peer | undefined, gate: Gate): undefined {
  if (peer === undefined || !gate.acceptsCertificateAlone.has(peer.trustDomain)) throw new Refusal('token_missing');
}

function checkScheme(token: InboundToken, credential: CallerCredential): void {
  const wanted = token.binding === 'dpop' ? 'dpop' : 'bearer';
  // A bound token under the other scheme is a downgrade (RFC 9449 7.1), a plain one as DPoP is nobody's.
  if (credential.scheme !== wanted)
    throw new Refusal(
      'token_invalid',
      `The access token is taken with the scheme ${wanted === 'dpop' ? 'DPoP' : 'Bearer'} only.`,
    );
  // Whatever it is bound by, also in a way that is not known here.
  if (token.binding === 'bearer' && token.boundBy !== undefined) {
    throw new Refusal('token_invalid', 'The access token is bound to a key and came without its proof.');
  }
}
