import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** Bundle endpoints: what each profile needs, and what would have no effect with it. */
export function checkBundleEndpoints(written: Written): readonly Finding[] {
  return written.names(['trust', 'domains']).flatMap((domain) => checkEndpoint(written, domain));
}

function checkEndpoint(written: Written, domain: string): readonly Finding[] {
  const at = (key: string) => ['trust', 'domains', domain, 'bundle_endpoint', key];
  const profile = written.text(at('profile'));
  if (profile !== 'https_web' && profile !== 'https_spiffe') return [];
  const foreign = profile === 'https_web' ? ['spiffe_id', 'bootstrap'] : ['ca'];
  const findings: Finding[] = foreign
    .filter((key) => written.has(at(key)))
    .map((key) => ({ path: at(key), message: `has no effect with \`profile: ${profile}\`; remove it`, atKey: true }));
  if (profile === 'https_web') return findings;
  const id = written.text(at('spiffe_id'));
  if (id === undefined) {
    return [
      ...findings,
      { path: at('spiffe_id'), message: 'is missing: https_spiffe needs the SPIFFE ID of the endpoint' },
    ];
  }
  const owner = /^spiffe:\/\/([^/]+)\//.exec(id)?.[1];
  if (owner === domain && !written.has(at('bootstrap'))) {
    const why = 'the endpoint shows an SVID of the trust domain itself, so its first bundle comes from you';
    return [...findings, { path: at('bootstrap'), message: `is missing: ${why}` }];
  }
  return owner === undefined || written.names(['trust', 'domains']).includes(owner)
    ? findings
    : [
        ...findings,
        { path: at('spiffe_id'), message: 'is of a domain that is not in `trust.domains`: it could not be checked' },
      ];
}
