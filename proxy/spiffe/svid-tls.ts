import { X509Certificate } from 'node:crypto';
import type { DetailedPeerCertificate, PeerCertificate, TLSSocket } from 'node:tls';
import { SpiffeId } from './spiffe-id.ts';
import { checkX509Path, type X509Bundle, type X509BundleOf } from './x509-path.ts';

/** Whether a peer with this SPIFFE ID may talk to us. Its certificate was verified before. */
export type Authorize = (peer: SpiffeId) => boolean;

/** A peer showed a valid SVID of somebody that we do not talk to. */
export class PeerNotAuthorized extends Error {
  override readonly name = 'PeerNotAuthorized';

  constructor() {
    super('the peer is not authorised');
  }
}

/** More certificates than any path that is believed. */
const maxChain = 8;

/**
 * Verifies the certificates of a peer as an X.509-SVID, against the bundle of its own trust domain. Throws InvalidSvidPath, or
 * PeerNotAuthorized.
 * @param nowMs milliseconds since the epoch.
 */
export function checkPeerChain(
  chain: readonly Buffer[],
  bundleOf: X509BundleOf,
  authorize: Authorize,
  nowMs: number,
): SpiffeId {
  const peer = SpiffeId.parseWorkload(checkX509Path(chain, bundleOf, nowMs).spiffeId);
  if (!authorize(peer)) throw new PeerNotAuthorized();
  return peer;
}

/** The certificates that a peer showed, DER, leaf first; empty where it showed none. */
export function chainOfPeer(socket: TLSSocket): readonly Buffer[] {
  return chainOf(socket.getPeerCertificate(true));
}

/**
 * The `checkServerIdentity` of node:tls by SPIFFE ID in place of a host name. It is asked only for certificates that were verified with
 * `ca` (`pemOf`), and never for a resumed session: connections that use it must not resume any.
 */
export function checkServerBy(bundleOf: X509BundleOf, authorize: Authorize, now: () => number) {
  return (_host: string, certificate: PeerCertificate): Error | undefined => {
    try {
      checkPeerChain(chainOf(certificate), bundleOf, authorize, now());
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new PeerNotAuthorized();
    }
  };
}

/** The authorities of bundles as PEM, for the option `ca` of node:tls. An empty list is no reason to trust the roots of the system. */
export function pemOf(bundles: Iterable<X509Bundle>): string[] {
  return [...bundles].flatMap(({ authorities }) => authorities.map((der) => new X509Certificate(der).toString()));
}

function chainOf(certificate: PeerCertificate | DetailedPeerCertificate): readonly Buffer[] {
  const chain: Buffer[] = [];
  let at: PeerCertificate | DetailedPeerCertificate | undefined = certificate;
  // Node links a root to itself, and gives an empty object where there is no certificate.
  while (at?.raw !== undefined && chain.length < maxChain && chain.at(-1)?.equals(at.raw) !== true) {
    chain.push(at.raw);
    at = 'issuerCertificate' in at ? at.issuerCertificate : undefined;
  }
  return chain;
}
