import { expect, test } from 'vitest';
import { admittedPaths, checkChain, readRecord } from '../stage/event-record.ts';
import { killUnderLoad } from '../stage/kill-rounds.ts';

test('W7: killed 50 times under load, the record has every call that a tool saw, and each chain is whole', async () => {
  const rounds = 50;
  const killed = await killUnderLoad(rounds, 64);
  const { stage, seen, answered } = killed;
  try {
    const admitted = admittedPaths(readRecord(stage.sidecar.eventsFile));
    const { boots, torn, outcomeUnknown } = await checkChain(stage.sidecar.eventsFile);
    console.log(`${seen.size} calls seen, ${outcomeUnknown} of unknown outcome, ${torn.length} torn lines`);
    expect(seen.size).toBeGreaterThan(rounds * 64);
    expect([...seen].filter((path) => !admitted.has(path))).toEqual([]);
    expect([...answered].filter((path) => !seen.has(path))).toEqual([]);
    expect(boots.length).toBe(rounds + 1);
    expect(torn.length).toBeLessThanOrEqual(rounds);
  } finally {
    await killed.close();
  }
}, 420_000);
