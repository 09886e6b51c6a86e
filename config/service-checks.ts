import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** What is said where a workload identity is missing. */
export const noIdentity =
  'needs a workload identity (SPIFFE), which `identity` does not give; set `identity.workload_api` or `identity.svid_dir`';

/** Whether the configuration names no source of SVIDs. */
export function isWithoutIdentity(written: Written): boolean {
  return !written.has(['identity']) || written.text(['identity']) === 'none' || written.has(['identity', 'kubernetes']);
}

/** Token services: what needs a workload identity. */
export function checkServices(written: Written): readonly Finding[] {
  return written.names(['token_services']).flatMap((name) => checkService(written, name));
}

/** A JWT-SVID without a Workload API could never be had, so every exchange would fail at run time. */
function checkService(written: Written, name: string): readonly Finding[] {
  const at = (key: string) => ['token_services', name, key];
  const findings: Finding[] = [];
  if (written.text(at('client_auth')) === 'spiffe_jwt' && isWithoutIdentity(written)) {
    findings.push({ path: at('client_auth'), message: `spiffe_jwt ${noIdentity}, or use client_secret_basic` });
  }
  if (written.text(at('actor')) === 'jwt-svid' && isWithoutIdentity(written)) {
    findings.push({ path: at('actor'), message: `jwt-svid ${noIdentity}, or set \`actor: none\`` });
  }
  return findings;
}

/** Trust: domains whose keys nobody could deliver, and an issuer that is listed twice. */
export function checkTrust(written: Written): readonly Finding[] {
  const findings: Finding[] = [];
  for (const domain of written.names(['trust', 'domains'])) {
    const path = ['trust', 'domains', domain];
    const source = written.text(path);
    if (source === 'svid_dir' && written.has(['identity', 'workload_api'])) {
      findings.push({ path, message: 'svid_dir is not where the identity comes from; write `workload_api`' });
    }
    if ((source === 'workload_api' || source === 'svid_dir') && isWithoutIdentity(written)) {
      findings.push({ path, message: `${source} ${noIdentity}` });
    }
  }
  const seen = new Set<string>();
  for (let index = 0; index < written.count(['trust', 'issuers']); index++) {
    const path = ['trust', 'issuers', index, 'issuer'];
    const issuer = written.text(path);
    if (issuer === undefined) continue;
    if (seen.has(issuer))
      findings.push({ path, message: 'is listed above already; put all its audiences into one entry' });
    seen.add(issuer);
  }
  return findings;
}
