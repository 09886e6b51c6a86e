import { isGraver } from './risks.ts';
import { isWithoutIdentity, noIdentity } from './service-checks.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** The chain that goes to a tool, and what it permits there. */
export function checkDelegations(written: Written): readonly Finding[] {
  return written
    .names(['tools'])
    .flatMap((name) => [...checkLink(written, ['tools', name]), ...checkBounds(written, ['tools', name])]);
}

/** A link is signed with the X.509-SVID, for calls of a task; only calls with a token have one. */
function checkLink(written: Written, tool: readonly string[]): readonly Finding[] {
  const chain = written.text([...tool, 'chain']);
  const asking = [
    ...(chain === 'full' ? ['chain'] : []),
    ...(written.has([...tool, 'delegate']) ? ['delegate'] : []),
  ].map((key) => [...tool, key]);
  if (!written.has([...tool, 'token'])) {
    return asking.map((path) => ({ path, message: 'needs a `token`: calls without one belong to no task' }));
  }
  if (isWithoutIdentity(written)) return asking.map((path) => ({ path, message: `a link of the chain ${noIdentity}` }));
  if (chain === 'none' && written.has([...tool, 'delegate'])) {
    return [{ path: [...tool, 'delegate'], message: 'has no meaning with `chain: none`: it stands in the link' }];
  }
  return [];
}

/** What is permitted further on holds the call itself, and is not more than the tool may do. */
function checkBounds(written: Written, tool: readonly string[]): readonly Finding[] {
  const findings: Finding[] = [];
  const resources = [...tool, 'delegate', 'resources'];
  const own = written.text([...tool, 'token', 'resource']);
  if (own !== undefined && written.count(resources) > 0 && !written.texts(resources).some(([, uri]) => uri === own)) {
    findings.push({
      path: resources,
      message:
        'must list `token.resource` of the tool too: a chain that does not permit the call itself is refused there',
    });
  }
  const risk = written.text([...tool, 'delegate', 'risk']);
  if (risk !== undefined && isGraver(risk, written.text([...tool, 'risk']) ?? 'read')) {
    findings.push({
      path: [...tool, 'delegate', 'risk'],
      message: 'is graver than `risk` of the tool, which is the worst that a call can lead to',
    });
  }
  return findings;
}
