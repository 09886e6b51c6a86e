import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadedSettings } from '../../../config/load.ts';
import { resolvePaths, type Paths, type Surroundings } from '../../../config/paths.ts';
import { privateAuthorities } from '../../exchange/endpoint-connections.ts';
import { openEndpoints, type Endpoints } from '../../exchange/endpoints.ts';
import { svidCertificates } from '../../open-identity.ts';
import { EgressGuard } from '../../route/egress-guard.ts';
import { openWorkload, type Workload } from '../../workload.ts';
import { realWorld, type World } from '../../world.ts';

/** What is examined: a configuration with the rooms that look outwards, as the sidecar would open them. Nothing listens or records. */
export interface Patient {
  readonly config: LoadedSettings;
  readonly paths: Paths;
  readonly surroundings: Surroundings;
  readonly world: World;
  readonly guard: EgressGuard;
  readonly endpoints: Endpoints;
  readonly identity: Promise<Identity>;
  close(): Promise<void>;
}

/** The identity, as far as it could be obtained. */
export interface Identity {
  /** Undefined where a file of it cannot be read at all. */
  readonly workload: Workload | undefined;
  /** What the sources complained of, or why there is none; words of our own. */
  readonly troubles: readonly string[];
  readonly certificates: ReturnType<typeof svidCertificates>;
}

/** Opens everything that looks outwards. The identity is obtained beside the rest: most checks need none. */
export function openPatient(config: LoadedSettings, surroundings: Surroundings): Patient {
  const { settings } = config;
  const world = realWorld(settings.dns.servers);
  // Our own ports are refused by the sidecar that listens there; here nobody does.
  const guard = new EgressGuard(world, () => false);
  const recognised = [...settings.trust.issuers, ...settings.token_services.values()];
  const endpoints = openEndpoints(guard, world, privateAuthorities(recognised), () => undefined);
  const identity = obtainIdentity(config, guard, world);
  return {
    config,
    paths: resolvePaths(settings, surroundings),
    surroundings,
    world,
    guard,
    endpoints,
    identity,
    async close() {
      await endpoints.close();
      void identity.then(({ workload }) => workload?.close());
    },
  };
}

async function obtainIdentity({ settings }: LoadedSettings, guard: EgressGuard, world: World): Promise<Identity> {
  const troubles = new Set<string>();
  const events = {
    rotated: () => undefined,
    lost: () => undefined,
    troubled: (source: string, reason: string) => void troubles.add(`${source}: ${reason}`),
  };
  try {
    const workload = await openWorkload(settings, guard, world, events);
    if (workload.missing() === undefined) await bundlesOf([...settings.trust.domains.keys()], workload, world);
    return { workload, troubles: [...troubles], certificates: svidCertificates(workload) };
  } catch (error) {
    // Files that only a start can judge: their errors are written for whoever named them.
    const why = error instanceof Error ? error.message : 'unknown cause';
    return { workload: undefined, troubles: [why], certificates: { certificate: () => undefined } };
  }
}

/** How long bundles may come behind the SVID, milliseconds: a Workload API sends them on a stream of their own. */
const bundlesMs = 1000;

async function bundlesOf(domains: readonly string[], workload: Workload, { monotonic }: World): Promise<void> {
  const end = monotonic() + bundlesMs;
  while (domains.some((domain) => workload.authoritiesOf(domain) === undefined) && monotonic() < end) await sleep(20);
}
