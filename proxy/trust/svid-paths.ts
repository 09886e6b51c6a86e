import { createHash } from 'node:crypto';
import { checkX509Path, type X509Bundle, type X509BundleOf, type X509Path } from '../spiffe/x509-path.ts';
import { Memo } from './memo.ts';

/** A verified SVID, and the bundle that it was verified with. */
export interface TrustedPath {
  readonly path: X509Path;
  readonly bundle: X509Bundle;
}

/** A workload signs the links of all its tasks with one SVID, so its path is verified once and not with every chain. */
const trusted = new Memo<TrustedPath>(1024);

/** As `checkX509Path`, remembered until the path ends or its bundle changes. Throws InvalidSvidPath. */
export function findTrustedPath(x5c: readonly Buffer[], authoritiesOf: X509BundleOf, nowMs: number): TrustedPath {
  const key = keyOf(x5c);
  const known = trusted.get(key);
  if (known !== undefined && known.path.notAfterMs > nowMs && isStillTrusted(known, authoritiesOf, nowMs)) return known;
  const path = checkX509Path(x5c, authoritiesOf, nowMs);
  const bundle = authoritiesOf(path.trustDomain);
  const found = { path, bundle: bundle ?? { authorities: [], revocations: [] } };
  trusted.set(key, found);
  return found;
}

/**
 * Whether the bundle is the same as when the path was verified: an authority that was taken back must not live on in a memory, nor a
 * certificate that was revoked meanwhile, nor one of which nobody knows any more whether it was.
 */
export function isStillTrusted({ path, bundle }: TrustedPath, authoritiesOf: X509BundleOf, nowMs: number): boolean {
  if (path.revocationKnownUntilMs <= nowMs) return false;
  const now = authoritiesOf(path.trustDomain);
  return now === bundle || (now !== undefined && isSameBundle(now, bundle));
}

function isSameBundle(one: X509Bundle, other: X509Bundle): boolean {
  return (
    one.authorities.length === other.authorities.length &&
    one.authorities.every((der, index) => der.equals(other.authorities[index] ?? der.subarray(1))) &&
    one.revocations.length === other.revocations.length &&
    one.revocations.every(({ digest }, index) => digest === other.revocations[index]?.digest)
  );
}

function keyOf(x5c: readonly Buffer[]): string {
  const digest = createHash('sha256');
  // DER says its own length, so two lists never run together into the same bytes.
  for (const der of x5c) digest.update(der);
  return digest.digest('base64url');
}
