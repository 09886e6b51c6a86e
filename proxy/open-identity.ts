import type { OpenRecord } from './open-record.ts';
import type { ProcessLog } from './process-log.ts';
import { openWorkload, type FindWay, type Workload, type WorkloadSettings } from './workload.ts';
import type { World } from './world.ts';

/** The identity, and who hears when it becomes another. */
export interface OpenIdentity {
  readonly workload: Workload;
  /** @param hear gets the SPIFFE ID, at once if there is one already. */
  onChange(hear: (spiffeId: string) => void): void;
}

/** Opens identity and trust bundles, and records what happens to them. */
export async function openIdentity(
  settings: WorkloadSettings,
  guard: FindWay,
  world: World,
  record: OpenRecord,
  log: ProcessLog,
): Promise<OpenIdentity> {
  let changed: ((spiffeId: string) => void) | undefined;
  let last = '';
  const workload = await openWorkload(settings, guard, world, {
    rotated: (spiffeId, expiresAtMs) => {
      record.trail.svidRotated(spiffeId, expiresAtMs);
      if (spiffeId !== last) changed?.(spiffeId);
      last = spiffeId;
    },
    lost: (cause) => {
      record.trail.svidLost(cause);
      log.warn({ cause }, 'the identity is gone');
    },
    troubled: (source, reason) => log.warn({ source, reason }, 'a source of identity or trust fails'),
  });
  return {
    workload,
    onChange: (hear) => {
      changed = hear;
      if (last !== '') hear(last);
    },
  };
}
