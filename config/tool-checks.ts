import { suggest } from './nearness.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** Risks at which a stolen token would do harm that cannot be undone (DESIGN 7). */
const graveRisks: ReadonlySet<string> = new Set(['deploy', 'payment', 'export']);

/** Tools: what a credential needs so that it can go to one place only. */
export function checkTools(written: Written): readonly Finding[] {
  return written
    .names(['tools'])
    .filter((name) => written.has(['tools', name, 'token']) || written.has(['tools', name, 'secret']))
    .flatMap((name) => [
      ...(written.has(['tools', name, 'token']) ? checkToken(written, name) : []),
      ...checkHost(written, name),
      ...checkDanger(written, name),
      ...checkUnverified(written, name),
    ]);
}

/** A token has one issuer that is known, and one place where it is good (W2, W5). */
function checkToken(written: Written, name: string): readonly Finding[] {
  const at = (...keys: string[]) => ['tools', name, ...keys];
  const findings: Finding[] = [];
  const services = written.names(['token_services']);
  const named = written.texts(at('token', 'from'));
  for (const [index, [path, from]] of named.entries()) {
    if (!services.includes(from)) {
      findings.push({
        path,
        message: `no token service of this name is in \`token_services\`${suggest(from, services)}`,
      });
    }
    if (named.findIndex(([, other]) => other === from) < index) findings.push({ path, message: 'is listed already' });
  }
  if (!written.has(at('token', 'audience')) && !written.has(at('token', 'resource'))) {
    findings.push({
      path: at('token'),
      message: 'needs `audience` or `resource`: a token without would be good at other tools too',
    });
  }
  return findings;
}

function checkHost(written: Written, name: string): readonly Finding[] {
  const path = ['tools', name, 'match', 'host'];
  if (written.text(path)?.includes('*') !== true) return [];
  const kind = written.has(['tools', name, 'token']) ? 'token' : 'secret';
  return [
    { path, message: `must be one exact host, since this tool has a \`${kind}\`: a credential goes to one place only` },
  ];
}

/** Grave risks need a proof (DESIGN 7). */
function checkDanger(written: Written, name: string): readonly Finding[] {
  const at = (...keys: string[]) => ['tools', name, ...keys];
  const findings: Finding[] = [];
  const proofless =
    written.has(at('secret')) || !written.has(at('token', 'proof')) || written.text(at('token', 'proof')) === 'none';
  const risk = written.text(at('risk'));
  if (risk !== undefined && graveRisks.has(risk) && proofless && !written.isOn(at('unsafe_bearer'))) {
    findings.push({
      path: at('risk'),
      message: `a tool of risk ${risk} needs \`token.proof: dpop\` or \`mtls\`; \`unsafe_bearer: true\` allows a token that whoever steals it can use`,
    });
  }
  if (written.text(at('token', 'nonce')) === 'required' && written.text(at('token', 'proof')) !== 'dpop') {
    findings.push({ path: at('token', 'nonce'), message: 'has a meaning only with `proof: dpop`' });
  }
  return findings;
}

/** What a token says is the only sign of a service that issues more than was asked; where nobody reads it, little may be lost. */
function checkUnverified(written: Written, name: string): readonly Finding[] {
  const at = (...keys: string[]) => ['tools', name, ...keys];
  // Of several services the tool itself chooses.
  const service = written
    .texts(at('token', 'from'))
    .map(([, from]) => from)
    .find((from) => written.text(['token_services', from, 'verify']) === 'response-only');
  const risk = written.text(at('risk')) ?? 'read';
  if (service === undefined || risk === 'read' || written.isOn(at('unsafe_unverified'))) return [];
  return [
    {
      path: at('risk'),
      message: `is at most read with tokens that nobody checks (\`verify: response-only\` of ${service}); \`unsafe_unverified: true\` allows more`,
    },
  ];
}
