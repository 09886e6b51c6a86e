import { InvalidSvidPath, type X509BundleOf } from '../spiffe/x509-path.ts';
import { clockSkewSeconds } from '../trust/issuers.ts';
import { isUnbroken } from './chain-rules.ts';
import { digestOf, isSignedBy, readLink, type ChainRoot, type Link, type LinkClaims } from './link.ts';
import type { May } from './may.ts';
import { Memo } from '../trust/memo.ts';
import { findTrustedPath, isStillTrusted, type TrustedPath } from '../trust/svid-paths.ts';

/** Why a chain is refused (WIRE 4). */
export type ChainFaultReason = 'chain_missing' | 'chain_too_deep' | 'chain_spliced' | 'chain_off_path' | 'chain_broken';

/** A chain that must not be believed. Holds no part of it. */
export class ChainFault extends Error {
  override readonly name = 'ChainFault';
  readonly reason: ChainFaultReason;

  constructor(reason: ChainFaultReason) {
    super(reason);
    this.reason = reason;
  }
}

export interface ChainLimits {
  readonly maxLinks: number;
  /** Length of the header's value. */
  readonly maxBytes: number;
}

/** What a verified chain says. */
export interface ChainFacts {
  /** SPIFFE IDs of the hops, oldest first. */
  readonly path: readonly string[];
  /** Who it began with, as the first hop's issuer names him. */
  readonly root: ChainRoot;
  /** When the first hop signed for him, milliseconds since the epoch. */
  readonly begunAtMs: number;
  /** The transaction of each hop, in the order of `path`: every hop opens a task of its own. */
  readonly txns: readonly string[];
  /** As the last hop states it. */
  readonly purpose: string;
  /** What the last hop allows behind it: not more than any before. */
  readonly may: May;
  /** Milliseconds since the epoch; the earliest end of a link or of an SVID. */
  readonly expiresAtMs: number;
  /** The header's value, to be continued with the next link. */
  readonly value: string;
  /** base64url SHA-256 of the value: what the claim `wbd` of a proof must be. */
  readonly digest: string;
}

/** What a chain is checked against. */
export interface ExpectedChain {
  /** The verified token's subject, as roots name it (`inbound.subject_map` applied); undefined where the request has no subject but its caller. */
  readonly subject: { readonly iss: string; readonly sub: string } | undefined;
  /** Our `inbound.resource`. */
  readonly resource: string;
  /** Who sent the request: the key of its proof, the peer of its connection. All that are given must be the last hop's; none is nobody. */
  readonly presenter: { readonly jkt?: string | undefined; readonly spiffeId?: string | undefined };
  readonly nowMs: number;
  readonly limits: ChainLimits;
  /** What the SVIDs of a trust domain are verified with; undefined where it is not trusted. */
  readonly authoritiesOf: X509BundleOf;
}

/** What a chain by itself is checked against, whatever request it came with. */
type ChainTrust = Pick<ExpectedChain, 'nowMs' | 'limits' | 'authoritiesOf'>;

/** All of a chain that does not depend on the request: verified once for the same text. */
interface VerifiedChain {
  readonly facts: ChainFacts;
  readonly last: LinkClaims;
  readonly svids: readonly TrustedPath[];
}

/** Only chains whose every signature was good come in here, so it is filled by workloads of trusted domains alone. */
const verified = new Memo<VerifiedChain>(1024);

/** A compact JWS of which a header begins with `{"`: a token of RFC 9651 3.3.4, since its first character is a letter. */
const member = /^ey[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
/** RFC 9651 4.1.1 writes a list with exactly this between its members. */
const separator = ', ';

/** The value of `Waybill-Delegation` for links, oldest first: a list of tokens without parameters, as RFC 9651 4.1 serialises it. */
export function formatChain(links: readonly string[]): string {
  return links.join(separator);
}

/** The links of a value that `parseChain` has read before. */
export function splitChain(value: string): readonly string[] {
  return value.split(separator);
}

/**
 * Takes the value apart into links, oldest first. Only the one spelling that `formatChain` writes is read: parsers that tolerate
 * others (spaces, tabs, parameters) would give one chain many texts. Throws ChainFault.
 */
export function parseChain(headerValue: string, limits: ChainLimits): string[] {
  if (headerValue.length > limits.maxBytes) throw new ChainFault('chain_too_deep');
  const links = headerValue.split(separator);
  if (!links.every((link) => member.test(link))) throw new ChainFault('chain_broken');
  if (links.length > limits.maxLinks) throw new ChainFault('chain_too_deep');
  return links;
}

/**
 * Checks a chain as DESIGN 6 says and returns what it states. Throws ChainFault with the reason of the first check that fails: form
 * and limits, signatures and SVIDs, the links among themselves, then subject, resource and presenter of this request. Signatures of a
 * text are verified once; what depends on the request or the time is looked at every time.
 * @param headerValue value of the one header line; several lines are for the caller to refuse.
 */
export function checkChain(headerValue: string | undefined, expected: ExpectedChain): ChainFacts {
  if (headerValue === undefined) throw new ChainFault('chain_missing');
  const { limits } = expected;
  if (headerValue.length > limits.maxBytes) throw new ChainFault('chain_too_deep');
  const digest = digestOf(headerValue);
  const known = recall(digest, expected);
  const chain = known ?? verifyChain(headerValue, digest, expected);
  if (chain.facts.path.length > limits.maxLinks) throw new ChainFault('chain_too_deep');
  if (known === undefined) verified.set(digest, chain);
  checkRequest(chain, expected);
  return chain.facts;
}

/** Looks again at a chain that was found good: it may have ended since, or one of its hops be trusted no more. Throws ChainFault. */
export function checkChainAgain({ digest, value }: ChainFacts, trust: ChainTrust): void {
  if (recall(digest, trust) === undefined) verifyChain(value, digest, trust);
}

/** A chain that was verified, unless it has ended or one of its trust domains has other authorities by now. */
function recall(digest: string, { authoritiesOf, nowMs }: ChainTrust): VerifiedChain | undefined {
  const known = verified.get(digest);
  if (known === undefined) return undefined;
  const isTrusted = (svid: TrustedPath): boolean => isStillTrusted(svid, authoritiesOf, nowMs);
  if (known.facts.expiresAtMs > nowMs && known.svids.every(isTrusted)) return known;
  verified.delete(digest);
  return undefined;
}

function verifyChain(value: string, digest: string, expected: ChainTrust): VerifiedChain {
  const links = parseChain(value, expected.limits).map(readOrRefuse);
  const svids = links.map((link) => verifyLink(link, expected));
  if (!isUnbroken(links)) throw new ChainFault('chain_spliced');
  const [first, last] = [links[0]?.claims, links.at(-1)?.claims];
  if (first?.root === undefined || last === undefined) throw new ChainFault('chain_broken');
  const ends = [...links.map(({ claims }) => claims.exp * 1000), ...svids.map(({ path }) => path.notAfterMs)];
  const { purpose, may } = last;
  const path = links.map(({ claims }) => claims.iss);
  const txns = links.map(({ claims }) => claims.txn);
  const [begunAtMs, expiresAtMs] = [first.iat * 1000, Math.min(...ends)];
  const facts = { path, root: first.root, begunAtMs, txns, purpose, may, expiresAtMs, value, digest };
  return { facts, last, svids };
}

function readOrRefuse(text: string): Link {
  const link = readLink(text);
  if (link === undefined) throw new ChainFault('chain_broken');
  return link;
}

/** Verifies one link by itself: in time, signed, and by the workload that it names. */
function verifyLink(link: Link, { authoritiesOf, nowMs }: ChainTrust): TrustedPath {
  const { iss, iat, exp } = link.claims;
  if (exp * 1000 <= nowMs || (iat - clockSkewSeconds) * 1000 > nowMs) throw new ChainFault('chain_broken');
  // The leeway is for clocks that differ. A link that is over before it begins was never good by any of them.
  if (iat >= exp) throw new ChainFault('chain_broken');
  const svid = findSvid(link, authoritiesOf, nowMs);
  // The certificate says who signed; a link that names somebody else is a forgery by a member of the trust domain.
  if (svid.path.spiffeId !== iss || !isSignedBy(link, svid.path.publicKey)) throw new ChainFault('chain_broken');
  return svid;
}

function findSvid({ x5c }: Link, authoritiesOf: X509BundleOf, nowMs: number): TrustedPath {
  try {
    return findTrustedPath(x5c, authoritiesOf, nowMs);
  } catch (error) {
    if (error instanceof InvalidSvidPath) throw new ChainFault('chain_broken');
    throw error;
  }
}

/** Whether a good chain belongs to this request: for the token's subject, to our resource, by who sent it. */
function checkRequest({ facts, last }: VerifiedChain, { subject, resource, presenter }: ExpectedChain): void {
  if (!isSubjectOf(subject, facts.root, last)) throw new ChainFault('chain_spliced');
  // A chain for another tool is off its path, and that its `may` does not hold us is no news then.
  if (last.aud !== resource) throw new ChainFault('chain_off_path');
  // Each `may` is within the one before, so what the last one holds is in all of them.
  if (!last.may.resources.includes(resource)) throw new ChainFault('chain_spliced');
  const { jkt, spiffeId } = presenter;
  if (jkt === undefined && spiffeId === undefined) throw new ChainFault('chain_off_path');
  if ((jkt ?? last.cnf.jkt) !== last.cnf.jkt || (spiffeId ?? last.iss) !== last.iss)
    throw new ChainFault('chain_off_path');
}

/** A chain of a user goes with that user's token only. One that began with a workload has no user: its last hop calls as itself. */
function isSubjectOf(subject: ExpectedChain['subject'], root: ChainRoot, last: LinkClaims): boolean {
  if (subject?.iss === root.iss && subject.sub === root.sub) return true;
  const isOfWorkload = root.iss.startsWith('spiffe://') && root.sub.startsWith(`${root.iss}/`);
  // Who comes without a subject calls as itself. What it may not do is bring a user's chain: the next hop would take ours, on which that
  // user's token is missing, for a splice, and tell on us.
  return isOfWorkload && (subject?.sub ?? last.iss) === last.iss;
}
