import { isSpiffe } from '../../../config/identity.ts';
import type { Settings } from '../../../config/settings.ts';
import type { Workload } from '../../workload.ts';
import { inStep, stepMs, wordOf, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';

/** Whether the workload identity can be obtained from where the configuration says, and the bundles of those we trust. */
export async function checkIdentity({ config, identity, world }: Patient, found: Findings): Promise<void> {
  const { settings } = config;
  if (settings.identity === 'none') {
    found.info('there is none: no delegation chain, no mTLS');
    return;
  }
  const { workload, troubles } = await identity;
  const why = troubles.length === 0 ? '' : ` (${troubles.join('; ')})`;
  if (workload === undefined) {
    found.fail(`it cannot be opened${why}`, 'Correct identity, or trust.domains.');
    return;
  }
  if (troubles.includes('svid_dir: key_shared'))
    found.warn('other users may read the key of the SVID, and call as us', 'Have it written with mode 0600.');
  if (isSpiffe(settings.identity)) {
    const missing = workload.missing();
    if (missing !== undefined) {
      found.fail(`${missing}${why}`, adviceFor(settings.identity));
      return;
    }
    tellSvid(workload, world.now(), found);
    tellBundles(workload, settings, why, found);
  }
  await Promise.all([...settings.token_services.values()].map((service) => tryToken(service, workload, found)));
}

/** An SVID lives for an hour or so: one that is nearly over was not renewed. */
const soonMs = 60_000;

function tellSvid(workload: Workload, now: number, found: Findings): void {
  const end = workload.svidLife()?.expiresAtMs;
  if (end === undefined) {
    found.warn(
      `${workload.spiffeId()} has no X.509-SVID`,
      'Links cannot be signed, and mTLS cannot be spoken: see its registration.',
    );
    return;
  }
  const left = end - now;
  const text = `${workload.spiffeId()}, until ${new Date(end).toISOString()}`;
  if (left <= 0) found.fail(`${text}: it is over`, 'See why nobody renews it.');
  else if (left < soonMs)
    found.warn(`${text}: ${Math.ceil(left / 1000)} s are left`, 'See whether it is renewed in time.');
  else found.ok(text);
}

function tellBundles(workload: Workload, { trust }: Settings, why: string, found: Findings): void {
  for (const domain of trust.domains.keys()) {
    const [bundle, jwt] = [workload.authoritiesOf(domain), workload.jwtAuthoritiesOf(domain)];
    const nobody = 'Nobody of that domain is recognised: see its source in trust.domains.';
    if (bundle === undefined) found.fail(`the bundle of ${domain} is not there${why}`, nobody);
    else if (bundle.authorities.length + (jwt?.length ?? 0) === 0)
      found.fail(`the bundle of ${domain} is empty: all its keys were taken back`, nobody);
    else found.ok(`the bundle of ${domain} is there`);
  }
}

/** Where a JWT-SVID or a projected token is what we show: it is obtained, for this service alone, and let go. */
async function tryToken(
  { name, issuer, client_auth: method, actor, token_file: file, assertion }: Service,
  workload: Workload,
  found: Findings,
): Promise<void> {
  try {
    if (method === 'spiffe_jwt' || actor === 'jwt-svid') {
      await inStep(workload.fetchJwtSvid(issuer, stepMs));
      found.ok(`a JWT-SVID for ${name} is given`);
    }
    // One with an audience of its own can only be judged when the token endpoint is known.
    if (method === 'kubernetes_jwt' && file === undefined && assertion.audience === 'issuer') {
      await inStep(workload.readToken(issuer));
      found.ok(`the service account token is for ${name}`);
    }
  } catch (error) {
    const why = error instanceof Error && 'reason' in error ? String(error.reason) : wordOf(error);
    found.fail(
      `no token of ours for ${name} (${why})`,
      'See the registration of this workload, and the audience of its token.',
    );
  }
}

type Service = Settings['token_services'] extends ReadonlyMap<string, infer Entry> ? Entry : never;

function adviceFor(identity: Exclude<Settings['identity'], 'none'>): string {
  if ('svid_dir' in identity) return `See that somebody writes an SVID to ${identity.svid_dir}.`;
  if ('workload_api' in identity)
    return `See that the Workload API runs at ${identity.workload_api}, that this user may open it, and that this workload is registered.`;
  return 'See its token file.';
}
