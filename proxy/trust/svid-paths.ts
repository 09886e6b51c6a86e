import { createHash } from 'node:crypto';
import { checkX509Path, type X509BundleOf, type X509Path } from '../spiffe/x509-path.ts';
import { Memo } from './memo.ts';

/** A verified SVID, and the authorities that it was verified with. */
export interface TrustedPath {
  readonly path: X509Path;
  readonly authorities: readonly Buffer[];
}

/** A workload signs the links of all its tasks with one SVID, so its path is verified once and not with every chain. */
const trusted = new Memo<TrustedPath>(1024);

/** As `checkX509Path`, remembered until the path ends or its bundle changes. Throws InvalidSvidPath. */
export function findTrustedPath(x5c: readonly Buffer[], authoritiesOf: X509BundleOf, nowMs: number): TrustedPath {
  const key = keyOf(x5c);
  const known = trusted.get(key);
  if (known !== undefined && known.path.notAfterMs > nowMs && isStillTrusted(known, authoritiesOf)) return known;
  const path = checkX509Path(x5c, authoritiesOf, nowMs);
  const found = { path, authorities: authoritiesOf(path.trustDomain) ?? [] };
  trusted.set(key, found);
  return found;
}

/** Whether the bundle is the same as when the path was verified: an authority that was taken back must not live on in a memory. */
export function isStillTrusted({ path, authorities }: TrustedPath, authoritiesOf: X509BundleOf): boolean {
  const now = authoritiesOf(path.trustDomain);
  if (now === authorities) return true;
  return (
    now?.length === authorities.length && now.every((der, index) => der.equals(authorities[index] ?? der.subarray(1)))
  );
}

function keyOf(x5c: readonly Buffer[]): string {
  const digest = createHash('sha256');
  // DER says its own length, so two lists never run together into the same bytes.
  for (const der of x5c) digest.update(der);
  return digest.digest('base64url');
}
