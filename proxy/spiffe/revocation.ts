import type { KeyObject } from 'node:crypto';
import { keyUsageBit, type CertificateProfile } from './certificate-profile.ts';
import type { RevocationList } from './revocation-list.ts';

/** `revoked`: a list names the certificate. `revocation_unknown`: its authority makes lists, and none of them speaks about this moment. */
export type RevocationFault = 'revoked' | 'revocation_unknown';

interface Certificate {
  readonly publicKey: KeyObject;
  readonly profile: CertificateProfile;
}

/**
 * Looks a verified path up in the lists (RFC 5280 6.3, as far as whole lists of the issuer itself go). An authority without any list
 * revokes nothing; one that has lists has to have one that is in force, for each part that they speak of. Lists that nobody on the path signed say nothing of it.
 * @returns why the path is refused, or until when (milliseconds since the epoch) the answer counts; Infinity without lists.
 */
export function findRevocation(
  whole: readonly Certificate[],
  lists: readonly RevocationList[],
  nowMs: number,
): RevocationFault | number {
  let knownUntilMs = Infinity;
  if (lists.length === 0) return knownUntilMs;
  for (const [index, { profile }] of whole.slice(0, -1).entries()) {
    const authority = whole[index + 1];
    if (authority === undefined) break;
    const { subject, keyUsage } = authority.profile;
    const own = lists.filter((list) => list.isBy(subject, authority.publicKey));
    // A list by a key that may not sign lists is none, and yet somebody meant to say something by it (6.3.3 f).
    const maySign = ((keyUsage?.bits ?? 0) & keyUsageBit.crlSign) !== 0;
    // A list of authorities, or of some reasons, is no newer word on what another list named.
    for (const alike of Map.groupBy(own, ({ scope }) => scope).values()) {
      const current = maySign ? alike.filter((list) => list.isCurrent(nowMs)) : [];
      if ((current.length > 0 ? current : alike).some((list) => list.holds(profile.serial))) return 'revoked';
      if (current.length === 0) return 'revocation_unknown';
      knownUntilMs = Math.min(knownUntilMs, Math.max(...current.map(({ nextUpdateMs }) => nextUpdateMs)));
    }
  }
  return knownUntilMs;
}
