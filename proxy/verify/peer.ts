import { hash, X509Certificate } from 'node:crypto';
import type { PeerCertificate } from '../intercept/call.ts';
import { Refusal } from '../refusal.ts';
import { InvalidSvidPath, type X509BundleOf } from '../spiffe/x509-path.ts';
import { findTrustedPath, isStillTrusted, type TrustedPath } from '../trust/svid-paths.ts';

/** A caller whose certificate was checked against the trust bundle of its own domain. */
export interface Peer {
  readonly spiffeId: string;
  readonly trustDomain: string;
  /** `base64url(SHA-256(DER of the leaf))`, as a bound token names it (RFC 8705 3.1). */
  readonly x5t: string;
  /** When its certificate was issued, as far as that says. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Port: what the certificates of a trust domain are verified with; undefined for a domain that is not trusted. */
export type AuthoritiesOf = X509BundleOf;

/** Peers by their certificate: a connection has many requests, and its certificate is checked for the first of them. */
const checked = new WeakMap<PeerCertificate, { readonly peer: Peer; readonly svid: TrustedPath }>();

/**
 * Checks the certificate of a caller. Undefined where there is none; refuses one that is not good, since a caller that shows a
 * certificate asks to be known by it. An authority that was taken back takes its peers with it, and a revoked certificate its own, on
 * connections that are open too: for each request the bundle must be the one that the certificate was checked with.
 */
export function checkPeer(
  certificate: PeerCertificate | undefined,
  authoritiesOf: AuthoritiesOf,
  nowMs: number,
): Peer | undefined {
  if (certificate === undefined) return undefined;
  const known = checked.get(certificate);
  if (known !== undefined && known.peer.notAfterMs > nowMs && isStillTrusted(known.svid, authoritiesOf, nowMs))
    return known.peer;
  try {
    const svid = findTrustedPath(certificate.chain, authoritiesOf, nowMs);
    const { path } = svid;
    const [leaf] = certificate.chain;
    if (leaf === undefined) return undefined;
    const peer: Peer = {
      spiffeId: path.spiffeId,
      trustDomain: path.trustDomain,
      x5t: hash('sha256', leaf, 'base64url'),
      notBeforeMs: new X509Certificate(leaf).validFromDate.getTime(),
      notAfterMs: path.notAfterMs,
    };
    checked.set(certificate, { peer, svid });
    return peer;
  } catch (error) {
    if (error instanceof InvalidSvidPath)
      throw new Refusal('caller_not_allowed', 'The client certificate is not a valid X.509-SVID of a trusted domain.');
    throw error;
  }
}
