import { createPrivateKey } from 'node:crypto';
import { type Authority, openAuthority } from '../../proxy/embedded/authority.ts';
import type { ExpectedChain } from '../../proxy/delegation/chain.ts';
import { digestOf, signLink, type LinkClaims } from '../../proxy/delegation/link.ts';
import type { SignerIdentity } from '../../proxy/delegation/link-signer.ts';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { bundleOf } from './trust-bundle.ts';

/** A workload on the path of a task: its SVID, the key of its proofs, and the resource that links to it name. */
export interface Hop {
  readonly identity: SignerIdentity;
  readonly jkt: string;
  readonly resource: string;
}

/** Claims of one link that differ from those of an honest one. */
export type Change = Partial<LinkClaims> & { readonly without?: readonly string[] };

export const subject = { iss: 'https://sso.example.org/realms/corp', sub: 'alice' };
export const tool = 'https://tool.example.org';
export const root = { ...subject, jti_hash: digestOf('token 1') };

/** Issues the SVID of a workload. */
export async function openHop(authority: Authority, name: string, ttlSeconds: number = 3600): Promise<Hop> {
  const spiffeId = `spiffe://${authority.trustDomain}/${name}`;
  const { chainDer, keyDer, expiresAtMs } = await authority.issueX509(spiffeId, ttlSeconds);
  const privateKey = createPrivateKey({ key: keyDer, format: 'der', type: 'pkcs8' });
  const identity = { spiffeId, chain: [chainDer], privateKey, expiresAtMs };
  return { identity, jkt: makeProofKey().jkt, resource: `https://${name}.example.org` };
}

/** A trust domain with five workloads, and what others verify them with. */
export async function openPath(): Promise<{
  authority: Authority;
  hops: readonly Hop[];
  authoritiesOf: ExpectedChain['authoritiesOf'];
}> {
  const authority = await openAuthority('example.org');
  const names = ['planner', 'worker', 'clerk', 'buyer', 'payer'];
  const hops = await Promise.all(names.map((name) => openHop(authority, name)));
  const anchors = bundleOf(authority.bundle().x509Der);
  return { authority, hops, authoritiesOf: (name) => (name === 'example.org' ? anchors : undefined) };
}

/** The links of a chain along these hops to the tool, honest but for the changes by index. */
export function chainAlong(
  hops: readonly Hop[],
  changes: Readonly<Record<number, Change>> = {},
  nowMs: number = Date.now(),
): string[] {
  const links: string[] = [];
  for (const [index, hop] of hops.entries())
    links.push(linkOf(hops, index, links.at(-1), hop, changes[index] ?? {}, nowMs));
  return links;
}

/** One link of a chain, signed by `signer`. */
export function linkOf(
  hops: readonly Hop[],
  index: number,
  before: string | undefined,
  signer: Hop,
  change: Change,
  nowMs: number,
): string {
  const iat = Math.floor(nowMs / 1000);
  const resources = [...hops.slice(index + 1).map(({ resource }) => resource), tool];
  const { without = [], ...others } = change;
  const claims = {
    sub: subject.sub,
    sub_iss: subject.iss,
    aud: resources[0] ?? tool,
    txn: 'txn-1',
    purpose: 'reconcile invoices',
    may: { resources, risk: 'write' as const, hops: hops.length - 1 - index },
    cnf: { jkt: signer.jkt },
    ...(before === undefined ? { root } : { prev: digestOf(before) }),
    iat,
    exp: iat + 300 - index,
    ...others,
  };
  const kept = Object.fromEntries(Object.entries(claims).filter(([name]) => !without.includes(name)));
  return signLink(signer.identity, kept as unknown as typeof claims);
}
