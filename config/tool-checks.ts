import { suggest } from './nearness.ts';
import { isWithoutIdentity, noIdentity } from './service-checks.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** Risks at which a stolen token would do harm that cannot be undone (DESIGN 7). */
const graveRisks: ReadonlySet<string> = new Set(['deploy', 'payment', 'export']);

/** Tools: what a credential needs so that it can go to one place only. */
export function checkTools(written: Written): readonly Finding[] {
  const names = written.names(['tools']);
  return [
    ...names
      .filter((name) => written.has(['tools', name, 'token']))
      .flatMap((name) => [...checkToken(written, name), ...checkDanger(written, name)]),
    ...names.flatMap((name) => checkTls(written, name)),
  ];
}

/** mTLS with a tool: an SVID to show, a bundle to check the tool's with, and one way only to recognise it by. */
function checkTls(written: Written, name: string): readonly Finding[] {
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

/** A token has one issuer that is known, and one place where it is good (W2, W5). */
function checkToken(written: Written, name: string): readonly Finding[] {
  const at = (...keys: string[]) => ['tools', name, ...keys];
  const findings: Finding[] = [];
  const services = written.names(['token_services']);
  const from = written.text(at('token', 'from'));
  if (from !== undefined && !services.includes(from)) {
    findings.push({
      path: at('token', 'from'),
      message: `no token service of this name is in \`token_services\`${suggest(from, services)}`,
    });
  }
  if (!written.has(at('token', 'audience')) && !written.has(at('token', 'resource'))) {
    findings.push({
      path: at('token'),
      message: 'needs `audience` or `resource`: a token without would be good at other tools too',
    });
  }
  if (written.text(at('match', 'host'))?.includes('*') === true) {
    findings.push({
      path: at('match', 'host'),
      message: 'must be one exact host, since this tool has a `token`: a credential goes to one place only',
    });
  }
  return findings;
}

/** Grave risks need a proof (DESIGN 7), and a grant needs the subject that it speaks of. */
function checkDanger(written: Written, name: string): readonly Finding[] {
  const at = (...keys: string[]) => ['tools', name, ...keys];
  const findings: Finding[] = [];
  const proofless = !written.has(at('token', 'proof')) || written.text(at('token', 'proof')) === 'none';
  const risk = written.text(at('risk'));
  if (risk !== undefined && graveRisks.has(risk) && proofless && !written.has(at('unsafe_bearer'))) {
    findings.push({
      path: at('risk'),
      message: `a tool of risk ${risk} needs \`token.proof: dpop\`; \`unsafe_bearer: true\` allows a token that whoever steals it can use`,
    });
  }
  if (written.text(at('token', 'nonce')) === 'required' && proofless) {
    findings.push({ path: at('token', 'nonce'), message: 'has a meaning only with `proof: dpop`' });
  }
  if (written.text(at('on_behalf_of')) === 'agent' && written.text(at('token', 'grant')) === 'token_exchange') {
    findings.push({
      path: at('token', 'grant'),
      message: 'the agent itself has no token to exchange; with `on_behalf_of: agent` the grant is client_credentials',
    });
  }
  return findings;
}
