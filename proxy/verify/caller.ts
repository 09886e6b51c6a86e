import type { ChainFacts } from '../delegation/chain.ts';
import { Refusal } from '../refusal.ts';
import { isMeant, type SpiffePattern } from '../trust/spiffe-pattern.ts';
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

/** Refuses a caller that is not listed. An empty list admits all. */
export function checkCaller(caller: string, callers: readonly SpiffePattern[]): void {
  if (callers.length > 0 && !callers.some((entry) => isMeant(caller, entry))) throw new Refusal('caller_not_allowed');
}
