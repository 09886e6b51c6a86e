import { suggest } from './nearness.ts';
import { isWithoutIdentity, noIdentity } from './service-checks.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** mTLS with tools: an SVID to show, a bundle to check the tool's with, and one way only to recognise it by. */
export function checkToolTls(written: Written): readonly Finding[] {
  return written.names(['tools']).flatMap((name) => checkOne(written, name));
}

function checkOne(written: Written, name: string): readonly Finding[] {
  const at = (key: string) => ['tools', name, 'tls', key];
  const findings: Finding[] = [];
  if (written.text(at('client')) === 'svid' && isWithoutIdentity(written)) {
    findings.push({ path: at('client'), message: `svid ${noIdentity}` });
  }
  const peer = written.text(at('spiffe_id'));
  if (peer === undefined) return findings;
  const domains = written.names(['trust', 'domains']);
  const domain = /^spiffe:\/\/([^/]+)/.exec(peer)?.[1];
  if (domain !== undefined && !domains.includes(domain)) {
    const message = `is of the trust domain ${domain}, which is not in \`trust.domains\`${suggest(domain, domains)}: its certificate could not be checked`;
    findings.push({ path: at('spiffe_id'), message });
  }
  if (written.has(at('ca'))) {
    findings.push({
      path: at('ca'),
      message: 'contradicts `spiffe_id`: an SVID is checked with the bundle of its trust domain; remove one of both',
    });
  }
  return findings;
}
