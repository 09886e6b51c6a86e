import type { KeyObject } from 'node:crypto';
import type { Socket } from 'node:net';
import type { IdentitySettings } from '../config/identity.ts';
import type { DomainSource } from '../config/trust-sources.ts';
import type { JwtSvid, JwtSvidSource } from './exchange/client-auth/spiffe-jwt.ts';
import type { Destination, Way } from './route/egress-guard.ts';
import type { JwtAuthority } from './spiffe/bundles.ts';
import type { SvidEvent } from './spiffe/held-svids.ts';
import { readProjectedToken } from './spiffe/projected-token.ts';
import type { SpiffeId } from './spiffe/spiffe-id.ts';
import { openSvidFiles, type SvidFilesEvent } from './spiffe/svid-files.ts';
import type { WorkloadApi } from './spiffe/workload-api.ts';
import type { X509Bundle } from './spiffe/x509-path.ts';
import type { X509Context } from './spiffe/x509-svid.ts';
import { openTrustDomains } from './trust-domains.ts';
import type { World } from './world.ts';

/** Who this workload is, as far as it is known now. */
export interface Workload extends JwtSvidSource {
  /** Empty while there is no identity. */
  spiffeId(): string;
  /** From when to when the X.509-SVID is good, milliseconds since the epoch. */
  svidLife(): { readonly startsAtMs: number; readonly expiresAtMs: number } | undefined;
  /** The X.509-SVID of this moment: for TLS and for links of the delegation chain. */
  x509(): WorkloadSvid | undefined;
  /** What the X.509-SVIDs of a trust domain are verified with, as its source gives it. */
  authoritiesOf(trustDomain: string): X509Bundle | undefined;
  /** Public JWKs that sign the JWT-SVIDs of a trust domain. */
  jwtAuthoritiesOf(trustDomain: string): readonly JwtAuthority[] | undefined;
  /**
   * The service account token for exactly this audience, where `identity.kubernetes` names one: for client assertions, and as a token
   * of an exchange. Rejects while there is none that is good.
   */
  readToken(audience: string): Promise<{ token(): string; readonly expiresAtMs: number }>;
  /** Why calls that need an identity would fail, for readiness. */
  missing(): string | undefined;
  close(): void;
}

/** Our own X.509-SVID. The key leaves through `privateKey` only. */
export interface WorkloadSvid {
  readonly spiffeId: string;
  /** DER, leaf first. */
  readonly chain: readonly Buffer[];
  readonly expiresAtMs: number;
  privateKey(): KeyObject;
}

/** Which folder and file of an identity it is, and why: codes and words of our own. */
export interface TroubleFacts {
  readonly folder: string;
  readonly file: string | undefined;
  readonly cause: string | undefined;
}

/** What happens to the identity, for the record. */
export interface WorkloadEvents {
  rotated(spiffeId: string, expiresAtMs: number): void;
  lost(cause: string): void;
  /** Trouble with the Workload API, a folder or a bundle; words of our own and codes only. */
  troubled(source: string, reason: string, more?: TroubleFacts): void;
}

/** How long a start waits for the first SVID, milliseconds: an agent that is there answers in a few. */
const firstSvidMs = 3000;

/** Port: finds the checked address of a destination (the egress guard). */
export interface FindWay {
  find(destination: Destination): Way | Promise<Way>;
}

/** What of the configuration says who we are and whom we believe. */
export interface WorkloadSettings {
  readonly identity: IdentitySettings;
  readonly trust: { readonly domains: ReadonlyMap<string, DomainSource> };
}

/** Opens the identity that the configuration names, and the bundles of the trust domains. */
export async function openWorkload(
  { identity, trust }: WorkloadSettings,
  guard: FindWay,
  world: World,
  events: WorkloadEvents,
): Promise<Workload> {
  const own = await openIdentity(identity, world, events);
  const domains = await openTrustDomains(trust.domains, own, {
    tcp: { dial: (host, port) => dialChecked(host, port, guard, world) },
    now: world.now,
    troubled: (source, reason) => events.troubled(source, reason),
  });
  return {
    ...own,
    authoritiesOf: (trustDomain) => domains.authoritiesOf(trustDomain),
    jwtAuthoritiesOf: (trustDomain) => domains.jwtAuthoritiesOf(trustDomain),
    close: () => {
      domains.close();
      own.close();
    },
  };
}

/** Bundle endpoints are named by the operator, so they may stand anywhere but where nothing of ours may go. */
async function dialChecked(host: string, port: number, guard: FindWay, world: World): Promise<Socket> {
  const way = await guard.find({ host, port, addresses: ['public', 'private', 'loopback'], dial: undefined });
  return world.dial(way.address, way.port, way.others);
}

/** With `none` there is nobody to ask, and whatever needs an SVID is refused. */
async function openIdentity(identity: IdentitySettings, world: World, events: WorkloadEvents): Promise<Workload> {
  if (identity === 'none') return withoutSpiffe;
  if ('kubernetes' in identity) {
    const { token_file: file } = identity.kubernetes;
    return { ...withoutSpiffe, readToken: (audience) => readProjectedToken(file, audience, world.now()) };
  }
  return 'svid_dir' in identity ? openFolder(identity.svid_dir, world, events) : openApi(identity, world, events);
}

const withoutSpiffe: Workload = {
  spiffeId: () => '',
  svidLife: () => undefined,
  x509: () => undefined,
  authoritiesOf: () => undefined,
  jwtAuthoritiesOf: () => undefined,
  missing: () => undefined,
  fetchJwtSvid: () => Promise.reject(new Error('there is no SPIFFE identity')),
  readToken: () => Promise.reject(new Error('there is no service account token')),
  close: () => undefined,
};

/** Port: where SVIDs and bundles come from, kept fresh. */
interface SvidSource {
  x509(): X509Context | undefined;
  x509Bundles(): ReadonlyMap<string, X509Bundle>;
  jwtBundles(): ReadonlyMap<string, readonly JwtAuthority[]>;
  identity(): SpiffeId | undefined;
  fetchJwtSvid(audience: string, timeoutMs: number): ReturnType<WorkloadApi['fetchJwtSvid']>;
  close(): void;
}

async function openFolder(folder: string, world: World, events: WorkloadEvents): Promise<Workload> {
  const onEvent = (event: SvidFilesEvent): void => {
    if (event.kind === 'folder')
      events.troubled('svid_dir', event.reason, { folder, file: event.file, cause: event.cause });
    else tell(event, events);
  };
  const files = await openSvidFiles({ folder, now: world.now, onEvent });
  return fromSource(files, 'no SVID in the folder');
}

async function openApi(
  { workload_api: address, hint }: { readonly workload_api: string; readonly hint?: string | undefined },
  world: World,
  events: WorkloadEvents,
): Promise<Workload> {
  // gRPC costs start-up time and memory: it is loaded only by those who have a Workload API.
  const { openWorkloadApi } = await import('./spiffe/workload-api.ts');
  const first = Promise.withResolvers<void>();
  const api = openWorkloadApi({
    address,
    ...(hint === undefined ? {} : { hint }),
    now: world.now,
    onEvent: (event) => {
      if (event.kind === 'error') events.troubled(event.method, event.reason);
      else tell(event, events);
      if (event.kind === 'svid.rotated') first.resolve();
    },
  });
  const patience = setTimeout(first.resolve, firstSvidMs);
  await first.promise;
  clearTimeout(patience);
  return fromSource(api, 'no SVID from the Workload API');
}

function tell(event: { readonly kind: string } | SvidEvent, events: WorkloadEvents): void {
  if (!('spiffeId' in event)) return;
  if (event.kind === 'svid.rotated') events.rotated(event.spiffeId, event.expiresAtMs);
  else events.lost(event.cause);
}

function fromSource(source: SvidSource, missing: string): Workload {
  return {
    spiffeId: () => source.identity()?.toString() ?? '',
    svidLife: () => source.x509()?.default,
    x509: () => {
      const svid = source.x509()?.default;
      if (svid === undefined) return undefined;
      const { chain, expiresAtMs } = svid;
      return { spiffeId: svid.spiffeId.toString(), chain, expiresAtMs, privateKey: () => svid.privateKey() };
    },
    authoritiesOf: (trustDomain) => source.x509Bundles().get(trustDomain),
    jwtAuthoritiesOf: (trustDomain) => source.jwtBundles().get(trustDomain),
    missing: () => (source.identity() === undefined ? missing : undefined),
    readToken: (audience) => withoutSpiffe.readToken(audience),
    close: () => source.close(),
    async fetchJwtSvid(audience, timeoutMs): Promise<JwtSvid> {
      const svid = await source.fetchJwtSvid(audience, timeoutMs);
      return { token: () => svid.token(), spiffeId: svid.spiffeId.toString(), expiresAtMs: svid.expiresAtMs };
    },
  };
}
