import { signLink, type LinkClaims } from '../../proxy/delegation/link.ts';
import { formatChain } from '../../proxy/delegation/chain.ts';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { openHop, type Hop } from '../fakes/delegation-hops.ts';
import { digest } from './signing-key.ts';

/** What a chain is about. */
export interface Errand {
  readonly subject: { readonly iss: string; readonly sub: string };
  /** Resource of the way in that it leads to. */
  readonly resource: string;
  /** Thumbprint of the key of the last hop: that of the caller. */
  readonly jkt: string;
  readonly txn?: string;
}

/** Claims of one link that differ from an honest one's; undefined leaves a claim out. */
export type LinkChange = Readonly<Record<string, unknown>>;

/** Hops of a trust domain, by name. */
export async function openHops(authority: Authority, ...names: string[]): Promise<Hop[]> {
  return Promise.all(names.map((name) => openHop(authority, name)));
}

/** The links of an honest chain along these hops, oldest first, but for the changes of some. */
export function linksAlong(
  hops: readonly Hop[],
  errand: Errand,
  changes: Readonly<Record<number, LinkChange>> = {},
): string[] {
  const links: string[] = [];
  for (const index of hops.keys()) links.push(linkAt(hops, index, links.at(-1), errand, changes[index]));
  return links;
}

/** One link; the one before it stands in `prev`. */
export function linkAt(
  hops: readonly Hop[],
  index: number,
  before: string | undefined,
  { subject, resource, jkt, txn = 'txn-1' }: Errand,
  change: LinkChange = {},
): string {
  const hop = hops[index]!;
  const iat = Math.floor(Date.now() / 1000);
  const ahead = [...hops.slice(index + 1).map((next) => next.resource), resource];
  const claims = {
    sub: subject.sub,
    sub_iss: subject.iss,
    aud: ahead[0],
    txn,
    purpose: 'reconcile',
    may: { resources: ahead, risk: 'write', hops: hops.length - 1 - index },
    cnf: { jkt: index === hops.length - 1 ? jkt : hop.jkt },
    root: before === undefined ? { ...subject, jti_hash: digest('token') } : undefined,
    prev: before === undefined ? undefined : digest(before),
    iat,
    exp: iat + 300 - index,
    ...change,
  };
  return signLink(hop.identity, claims as unknown as Omit<LinkClaims, 'iss'>);
}

/** The value of `Waybill-Delegation`. */
export function chainAlong(...args: Parameters<typeof linksAlong>): string {
  return formatChain(linksAlong(...args));
}
