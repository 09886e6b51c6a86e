import { suggest } from './nearness.ts';
import { isWithoutIdentity, noIdentity } from './service-checks.ts';
import { profileNames, serviceProfiles } from './service-profiles.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** Grants in which one service states to another for whom it may issue a token. */
const twoLegged: ReadonlySet<string> = new Set(['id_jag', 'identity_chaining']);

/** What each grant needs beside itself, and what has no meaning with it. */
export function checkGrants(written: Written): readonly Finding[] {
  return written
    .names(['tools'])
    .filter((name) => written.has(['tools', name, 'token']))
    .flatMap((name) => [
      ...checkGrantor(written, name),
      ...checkAssertion(written, name),
      ...checkSubject(written, name),
    ]);
}

function checkGrantor(written: Written, name: string): readonly Finding[] {
  const at = (key: string) => ['tools', name, 'token', key];
  const grant = written.text(at('grant')) ?? '';
  const grantor = written.text(at('granted_by'));
  const own = written.texts(at('from')).map(([, from]) => from);
  if (!twoLegged.has(grant)) {
    return written.has(at('granted_by'))
      ? [{ path: at('granted_by'), message: 'has a meaning only with `grant: id_jag` or `identity_chaining`' }]
      : [];
  }
  const services = written.names(['token_services']);
  const findings: Finding[] = [];
  if (grantor === undefined) {
    findings.push({
      path: at('grant'),
      message: `${grant} needs \`granted_by\`: the token service that knows the subject`,
    });
  } else if (!services.includes(grantor)) {
    findings.push({
      path: at('granted_by'),
      message: `no token service of this name is in \`token_services\`${suggest(grantor, services)}`,
    });
  } else if (own.includes(grantor)) {
    findings.push({ path: at('granted_by'), message: 'is the service in `from` itself; exchange the token there' });
  }
  // The statement names the client that may hand it in; without the name nobody could tell that it is us.
  const unnamed = own.find((from) => services.includes(from) && !written.has(['token_services', from, 'client_id']));
  if (grant === 'id_jag' && unnamed !== undefined) {
    findings.push({
      path: at('grant'),
      message: `id_jag needs \`token_services.${unnamed}.client_id\`: as whom that service knows us`,
    });
  }
  return findings;
}

function checkAssertion(written: Written, name: string): readonly Finding[] {
  const at = (key: string) => ['tools', name, 'token', key];
  const grant = written.text(at('grant'));
  const findings: Finding[] = [];
  if (written.has(at('assertion')) && grant !== 'jwt_bearer') {
    findings.push({ path: at('assertion'), message: 'has a meaning only with `grant: jwt_bearer`' });
  }
  if (written.text(at('assertion')) === 'workload' && isWithoutIdentity(written)) {
    findings.push({ path: at('assertion'), message: `workload ${noIdentity}` });
  }
  // A service that has another grant of its own is asked by that where the tool names none.
  const owns = written.texts(at('from')).some(([, from]) => grantOf(written, from) !== 'token_exchange');
  const exchanges = grant === undefined ? !owns : grant === 'token_exchange';
  if (written.has(at('requested_token_type')) && !exchanges) {
    findings.push({ path: at('requested_token_type'), message: 'has a meaning only with `grant: token_exchange`' });
  }
  return findings;
}

/** How a service is asked by tools that do not say it. */
function grantOf(written: Written, service: string): string {
  const profile = profileNames.find((name) => name === written.text(['token_services', service, 'profile']));
  return serviceProfiles[profile ?? 'rfc8693'].dialect.grant;
}

/** A grant needs the subject that it speaks of. */
function checkSubject(written: Written, name: string): readonly Finding[] {
  const grant = written.text(['tools', name, 'token', 'grant']);
  if (grant === undefined || grant === 'client_credentials') return [];
  if (written.text(['tools', name, 'token', 'assertion']) === 'workload') return [];
  if (written.text(['tools', name, 'on_behalf_of']) !== 'agent') return [];
  const message =
    'the agent itself has no token to exchange; with `on_behalf_of: agent` the grant is client_credentials';
  return [{ path: ['tools', name, 'token', 'grant'], message }];
}
