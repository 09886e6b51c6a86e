import type { BundleEndpointSettings, DomainSource } from '../config/trust-sources.ts';
import { NoCertificate, readAuthorities } from './spiffe/authorities-file.ts';
import { EndpointUnavailable, fetchBundle, type DialTcp, type EndpointProfile } from './spiffe/bundle-endpoint.ts';
import type { JwtAuthority } from './spiffe/bundles.ts';
import { FederatedBundle } from './spiffe/federated-bundle.ts';
import { FileBundle, readBundleFile } from './spiffe/file-bundle.ts';
import { MalformedAnswer } from './spiffe/identity-unavailable.ts';
import { SpiffeId } from './spiffe/spiffe-id.ts';
import type { X509Bundle } from './spiffe/x509-path.ts';

/** What the SVIDs of each trust domain are verified with. */
export interface TrustBundles {
  authoritiesOf(trustDomain: string): X509Bundle | undefined;
  jwtAuthoritiesOf(trustDomain: string): readonly JwtAuthority[] | undefined;
}

/** Bundles of the domains that have a source of their own, and of all others by the identity's source. */
export interface TrustDomains extends TrustBundles {
  close(): void;
}

/** The bundle of one domain, however it is kept fresh. */
interface HeldBundle {
  x509(): X509Bundle | undefined;
  jwtAuthorities(): readonly JwtAuthority[] | undefined;
  close(): void;
}

/** What is needed to fetch bundles, and who hears of trouble. */
export interface FederationWorld {
  readonly tcp: DialTcp;
  readonly now: () => number;
  /** Trouble with a bundle; words of our own only. */
  troubled(source: string, reason: string): void;
}

/** How long a start waits for the first bundles, milliseconds: an endpoint that is there answers sooner. */
const firstBundlesMs = 3000;

/**
 * Opens the sources of all trust domains. A domain with an endpoint or a file has the bundle that comes from there and no other: what a
 * Workload API says of it is not looked at. A bootstrap bundle or a CA that cannot be read is an error; an endpoint that is away is not.
 */
export async function openTrustDomains(
  domains: ReadonlyMap<string, DomainSource>,
  own: TrustBundles,
  world: FederationWorld,
): Promise<TrustDomains> {
  const held = new Map<string, HeldBundle>();
  const bundles: TrustBundles = {
    authoritiesOf: (name) => (held.has(name) ? held.get(name)?.x509() : own.authoritiesOf(name)),
    jwtAuthoritiesOf: (name) => (held.has(name) ? held.get(name)?.jwtAuthorities() : own.jwtAuthoritiesOf(name)),
  };
  const first: Promise<void>[] = [];
  for (const [name, source] of domains) {
    if (typeof source === 'string') continue;
    if ('bundle_file' in source) {
      const bundle = new FileBundle(name, source.bundle_file, eventsOf(world));
      held.set(name, bundle);
      first.push(bundle.open());
    } else {
      const bundle = await openEndpoint(name, source.bundle_endpoint, bundles, world);
      held.set(name, bundle);
      first.push(bundle.poll());
    }
  }
  await inTime(Promise.all(first));
  return {
    ...bundles,
    close: () => {
      for (const bundle of held.values()) bundle.close();
    },
  };
}

async function openEndpoint(
  name: string,
  endpoint: BundleEndpointSettings,
  bundles: TrustBundles,
  world: FederationWorld,
): Promise<FederatedBundle> {
  // Roots that cannot be used are an error of the start, and later one of the poll.
  await profileOf(endpoint, bundles, world);
  const url = new URL(endpoint.url);
  const fetch = async (): Promise<Buffer> => fetchBundle(url, await profileNow(endpoint, bundles, world), world.tcp);
  const file = endpoint.profile === 'https_spiffe' ? endpoint.bootstrap : undefined;
  const bootstrap = file === undefined ? undefined : await usable(readBundleFile(file), file);
  return new FederatedBundle(name, { fetch }, bootstrap, eventsOf(world));
}

/**
 * Read for each poll: where the file with the roots was renewed, the old ones know the endpoint no more, and what it takes back from then on
 * would stay trusted.
 */
async function profileNow(
  endpoint: BundleEndpointSettings,
  bundles: TrustBundles,
  world: FederationWorld,
): Promise<EndpointProfile> {
  try {
    return await profileOf(endpoint, bundles, world);
  } catch {
    throw new EndpointUnavailable('tls');
  }
}

async function profileOf(
  endpoint: BundleEndpointSettings,
  bundles: TrustBundles,
  { now }: FederationWorld,
): Promise<EndpointProfile> {
  if (endpoint.profile === 'https_web') {
    if (endpoint.ca === undefined) return { kind: 'https_web', ca: undefined };
    // Read as a bundle for its checks: what holds no certificate would fail at every poll, and not now.
    await usable(readBundleFile(endpoint.ca), endpoint.ca);
    return { kind: 'https_web', ca: await usable(Promise.try(readAuthorities, endpoint.ca), endpoint.ca) };
  }
  const spiffeId = SpiffeId.parseWorkload(endpoint.spiffe_id ?? '');
  return { kind: 'https_spiffe', spiffeId, bundleOf: (name) => bundles.authoritiesOf(name), now };
}

/** A file that only the start can judge; the words are for the person who wrote its path. */
async function usable<Content>(reading: Promise<Content>, file: string): Promise<Content> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof MalformedAnswer || error instanceof NoCertificate)
      throw new Error(`${file}: ${error.message}`, { cause: error });
    throw error;
  }
}

function eventsOf(world: FederationWorld) {
  return {
    changed: () => undefined,
    failed: (trustDomain: string, fault: string) => world.troubled(`bundle of ${trustDomain}`, fault),
  };
}

async function inTime(work: Promise<unknown>): Promise<void> {
  const patience = Promise.withResolvers<void>();
  const timer = setTimeout(patience.resolve, firstBundlesMs);
  await Promise.race([work, patience.promise]);
  clearTimeout(timer);
}
