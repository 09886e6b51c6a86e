import { X509Certificate } from 'node:crypto';
import type { LoadedSettings } from '../config/load.ts';
import type { SignerIdentity } from './delegation/link-signer.ts';
import type { X509SvidSource } from './exchange/client-auth/spiffe-x509.ts';
import { troubleCode } from './exchange/endpoint-trouble.ts';
import { onceAMinute } from './once-a-minute.ts';
import { ToolTls } from './forward/tool-tls.ts';
import type { ServerIdentity } from './intercept/inbound-listener.ts';
import type { OpenRecord } from './open-record.ts';
import type { ProcessLog } from './process-log.ts';
import { OwnNames } from './tasks/own-names.ts';
import { ClientCertificate } from './trust/client-certificate.ts';
import { openWorkload, type FindWay, type Workload, type WorkloadSettings } from './workload.ts';
import type { World } from './world.ts';

/** Opens the workload identity and the bundles of the trust domains; what happens to them goes to the record, and a new SPIFFE ID to whoever listens. */
export async function openIdentity(
  settings: WorkloadSettings & { readonly agent: { readonly name: string } },
  guard: FindWay,
  world: World,
  record: OpenRecord,
  log: ProcessLog,
) {
  let changed: ((spiffeId: string) => void) | undefined;
  let replaced: (() => void) | undefined;
  let last = '';
  let rotatedAtMs: number | undefined;
  const names = new OwnNames(settings.agent.name);
  const opened = await openWorkload(settings, guard, world, {
    rotated: (spiffeId, expiresAtMs) => {
      record.trail.svidRotated(spiffeId, expiresAtMs);
      rotatedAtMs = world.now();
      names.add(spiffeId);
      if (spiffeId !== last) changed?.(spiffeId);
      last = spiffeId;
      replaced?.();
    },
    lost: (cause) => {
      record.trail.svidLost(cause);
      log.warn({ cause }, 'the identity is gone');
      changed?.('');
      replaced?.();
    },
    troubled: (source, reason, more) => log.warn({ source, reason, ...more }, 'a source of identity or trust fails'),
  });
  const workload: Workload = {
    ...opened,
    async fetchJwtSvid(audience, timeoutMs) {
      const svid = await opened.fetchJwtSvid(audience, timeoutMs);
      // Nothing else tells of an identity that has no X.509-SVID.
      names.add(svid.spiffeId);
      return svid;
    },
  };
  return {
    workload,
    /** All names that our own agent has had. */
    names(): readonly string[] {
      names.add(workload.spiffeId());
      return names.list();
    },
    /** When the X.509-SVID came that is in use, or was last. */
    rotatedAtMs: () => rotatedAtMs,
    /** @param hear told the SPIFFE ID when another one is ours, and an empty text when there is none any more. */
    onChange(hear: (spiffeId: string) => void) {
      changed = hear;
      if (last !== '') hear(last);
    },
    /** Another X.509-SVID than before is in use, or none. */
    onReplaced(hear: () => void) {
      replaced = hear;
    },
  };
}

/** TLS to tools with the trust domains of the configuration and the SVID of this moment. */
export function openToolTls(
  { settings }: LoadedSettings,
  workload: Pick<Workload, 'authoritiesOf'>,
  svids: X509SvidSource,
  world: World,
  log: Pick<ProcessLog, 'error'>,
) {
  const { domains } = settings.trust;
  const trust = {
    authoritiesOf: (domain: string) => (domains.has(domain) ? workload.authoritiesOf(domain) : undefined),
    svid: () => svids.certificate(),
  };
  const what = 'the CA file of a tool cannot be used';
  const tell = onceAMinute(world, (tool: string, code: string | undefined) => log.error({ tool, code }, what));
  return new ToolTls(trust, world, (tool, error) => tell(tool, troubleCode(error)));
}

/** The SPIFFE ID that rules decide by: the last that was ours, for a loss of it must not switch a rule off. Empty before the first. */
export function knownName(workload: Pick<Workload, 'spiffeId'>): () => string {
  let last = '';
  return () => {
    const now = workload.spiffeId();
    if (now !== '') last = now;
    return last;
  };
}

/** Our X.509-SVID as a certificate for TLS, made once for each SVID: connections and tokens are told apart by it. */
export function svidCertificates(workload: Pick<Workload, 'x509'>): X509SvidSource {
  let last: { readonly leaf: Buffer | undefined; readonly certificate: ClientCertificate } | undefined;
  return {
    certificate() {
      const svid = workload.x509();
      if (svid === undefined) {
        // The key of an identity that was taken away is not kept.
        last = undefined;
        return undefined;
      }
      const { chain, spiffeId } = svid;
      const [leaf] = chain;
      if (last === undefined || last.leaf !== leaf) {
        last = { leaf, certificate: new ClientCertificate({ chain, key: svid.privateKey(), spiffeId }) };
      }
      return last.certificate;
    },
  };
}

/** Our X.509-SVID as it signs links of the delegation chain. */
export function signingIdentity(workload: Workload): SignerIdentity | undefined {
  const svid = workload.x509();
  if (svid === undefined) return undefined;
  const { spiffeId, chain, expiresAtMs } = svid;
  return { spiffeId, chain, expiresAtMs, privateKey: svid.privateKey() };
}

/** Our X.509-SVID as the way in shows it to callers. */
export function serverIdentity(workload: Workload): ServerIdentity | undefined {
  const svid = workload.x509();
  if (svid === undefined) return undefined;
  return {
    certificates: svid.chain.map((der) => new X509Certificate(der).toString()).join(''),
    key: svid.privateKey().export({ type: 'pkcs8', format: 'pem' }),
  };
}
