import { setTimeout as sleep } from 'node:timers/promises';
import type { FleetStage } from './fleet.ts';
import type { StagedTask } from './sidecar-process.ts';

/** Calls of one task at each sidecar, made all the time. */
export interface Watch {
  /** Monotonic time of sending of the last call that a tool answered. */
  lastPassed(): number;
  /** Calls by what came of them: `200`, or the code of the refusal. */
  counts(): Readonly<Record<string, number>>;
  stop(): Promise<void>;
}

/** @param tasks one for each sidecar, in their order. */
export function watchCalls(fleet: FleetStage, tasks: readonly StagedTask[], tool = 'crm'): Watch {
  let lastPassed = 0;
  const ending = new AbortController();
  const counts: Record<string, number> = {};
  const loops = tasks.map(async (task, at) => {
    while (!ending.signal.aborted) {
      const sentAt = performance.now();
      const answer = await fleet.use(at, task, tool).catch(() => undefined);
      const came = answer?.status === 200 ? '200' : (answer?.code ?? 'nothing');
      counts[came] = (counts[came] ?? 0) + 1;
      if (came === '200') lastPassed = Math.max(lastPassed, sentAt);
      await sleep(10);
    }
  });
  return {
    lastPassed: () => lastPassed,
    counts: () => counts,
    async stop() {
      ending.abort();
      await Promise.all(loops);
    },
  };
}
