import type { ChainFacts } from '../delegation/chain.ts';
import { Refusal } from '../refusal.ts';
import type { InboundToken } from './inbound-token.ts';
import type { Peer } from './peer.ts';

/**
 * The workload that calls: by its certificate, else by the last link of the chain, else by the outermost actor of the token. Earlier
 * hops and nested actors are history and authorise nothing (RFC 8693 4.1). Empty for a user's own client.
 */
export function callerOf(
  token: InboundToken | undefined,
  peer: Peer | undefined,
  chain: ChainFacts | undefined,
): string {
  if (peer !== undefined) return peer.spiffeId;
  const last = chain?.path.at(-1);
  if (last !== undefined) return last;
  const act = token?.act;
  const sub = typeof act === 'object' && act !== null && 'sub' in act ? act.sub : undefined;
  return typeof sub === 'string' && sub.startsWith('spiffe://') ? sub : '';
}

/** One entry of `inbound.callers`: a SPIFFE ID, or with `below` also all below it by whole segments. */
export interface CallerPattern {
  readonly id: string;
  readonly below: boolean;
}

/** Refuses a caller that is not listed. Whole segments: `planner` does not let `planner2` in. An empty list admits all. */
export function checkCaller(caller: string, callers: readonly CallerPattern[]): void {
  if (callers.length === 0) return;
  const allowed = callers.some(({ id, below }) => caller === id || (below && caller.startsWith(`${id}/`)));
  if (!allowed) throw new Refusal('caller_not_allowed');
}
