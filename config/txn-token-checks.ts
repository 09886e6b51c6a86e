import { suggest } from './nearness.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** Transaction tokens stay inside the trust domain, and go beside a token. */
export function checkTxnTokens(written: Written): readonly Finding[] {
  const findings: Finding[] = [];
  const services = written.names(['token_services']);
  for (const name of written.names(['tools'])) {
    const at = (...keys: string[]) => ['tools', name, ...keys];
    if (written.has(at('trust_domain')) && !written.has(at('token')) && !written.has(at('secret'))) {
      findings.push({
        path: at('trust_domain'),
        message: 'has no meaning without a `token`: such calls belong to no task',
      });
    }
    if (!written.has(at('txn_token'))) continue;
    if (written.text(at('trust_domain')) !== 'inside') {
      findings.push({
        path: at('txn_token'),
        message: 'needs `trust_domain: inside`: it must not leave the trust domain',
      });
    }
    if (!written.has(at('token'))) {
      findings.push({ path: at('txn_token'), message: 'goes beside a `token`, which this tool does not have' });
    }
    const from = written.text(at('txn_token', 'from'));
    if (from !== undefined && !services.includes(from)) {
      findings.push({
        path: at('txn_token', 'from'),
        message: `no token service of this name is in \`token_services\`${suggest(from, services)}`,
      });
    }
  }
  return [...findings, ...checkInboundTxn(written)];
}

function checkInboundTxn(written: Written): readonly Finding[] {
  const path = ['inbound', 'txn_token'];
  if (!written.has(path) || written.has([...path, 'issuer']) || written.has([...path, 'jwks_uri'])) return [];
  return [{ path, message: 'needs `issuer` or `jwks_uri`: without keys nothing could be verified' }];
}
