import type { Tool } from '../../intercept/tool-catalogue.ts';
import { originOf, type Origin } from '../../intercept/origin.ts';
import type { Findings } from './finding.ts';
import { openToolTls } from '../../open-identity.ts';
import { Refusal } from '../../refusal.ts';
import type { Way } from '../../route/egress-guard.ts';
import { findPlainFault } from '../../route/route.ts';
import type { Patient } from './patient.ts';
import { reach } from './reach.ts';

/** Whether a tool can be reached as its calls would reach it, up to the point where they would send something. */
export async function checkTool(tool: Tool, patient: Patient, found: Findings): Promise<void> {
  const { name, settings } = tool;
  if (tool.host === '' || tool.host.startsWith('.')) {
    found.info(`${settings.match.host} is any of many hosts, and none of them was dialled`);
    return;
  }
  const origin = originOf(tool.mount.scheme, tool.host, tool.mount.port);
  const at = `tools.${name}`;
  const tls = origin.scheme === 'https' ? await termsFor(tool, origin, patient, found) : undefined;
  if (tls === 'none') return;
  const { addresses, dial, tls: terms } = settings;
  const isPinned = terms.ca !== undefined && terms.spiffe_id === undefined;
  const destination = { host: origin.host, port: origin.port, addresses, dial };
  const plainFault = (way: Way): string | undefined => findPlainFault(tool, way)?.replace('tools.X', at);
  await reach(
    { destination, tls, plainFault, authority: `${at}.tls.ca`, isPinned, addresses: `${at}.addresses` },
    patient,
    found,
  );
}

/** The terms on which calls connect; only some of them need our identity. `none`: there are none, which has been said. */
async function termsFor(tool: Tool, origin: Origin, patient: Patient, found: Findings) {
  const { client, spiffe_id: wanted } = tool.settings.tls;
  const needsIdentity = client === 'svid' || wanted !== undefined;
  const { workload, certificates } = needsIdentity ? await patient.identity : nobody;
  const trust = openToolTls(patient.config, workload ?? unknown, certificates, patient.world, silent);
  try {
    return trust.channelTo(tool, origin, undefined).options;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.code === 'upstream_tls') {
      found.fail(`every call is refused: ${error.detail}`, `See the finding about tools.${tool.name}.tls.ca.`);
      return 'none';
    }
    const what = client === 'svid' ? 'our SVID' : 'the bundle of its trust domain';
    found.fail(`${what} is needed for its TLS, and is not there`, 'See the findings about the identity.');
    return 'none';
  }
}

/** What cannot be used is among the findings. */
const silent = { error: () => undefined };
/** Most tools are recognised by their name, and see nothing of us. */
const nobody = { workload: undefined, certificates: { certificate: () => undefined } };
const unknown = { authoritiesOf: () => undefined };
