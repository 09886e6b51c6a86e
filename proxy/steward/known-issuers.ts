import type { Settings } from '../../config/settings.ts';

/** Whether the configuration names this issuer of subjects. The empty one is that of workloads, which are their own subjects. */
export function isKnownIssuer(iss: string, { trust, token_services: services, inbound, signals }: Settings): boolean {
  const known = [
    '',
    ...trust.issuers.map(({ issuer }) => issuer),
    ...[...services.values()].map(({ issuer }) => issuer),
    // Of both sides: a chain names the subject by its own.
    ...[...(inbound?.subject_map ?? [])].flat(),
    ...(signals?.transmitters ?? []).flatMap(({ issuer, subjects }) => [issuer, ...(subjects.issuers ?? [])]),
  ];
  return known.includes(iss);
}
