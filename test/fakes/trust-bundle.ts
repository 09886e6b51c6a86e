import type { X509Bundle } from '../../proxy/spiffe/x509-path.ts';

/** A bundle of these authorities, DER, without revocation lists. */
export function bundleOf(...authorities: readonly Buffer[]): X509Bundle {
  return { authorities, revocations: [] };
}
