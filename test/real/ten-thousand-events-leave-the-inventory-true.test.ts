import { randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { runInventory } from '../stage/inventory-run.ts';

test('W8: after 10,000 random events of tasks and tokens, restarts and revocations the inventory says what is so', async () => {
  const seed = Number(process.env['WAYBILL_SEED'] ?? randomInt(1, 2 ** 31));
  const events = 10_000;
  const startedAt = performance.now();
  const { comparisons, counts, ...more } = await runInventory(events, seed, 200);
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(0)} s, ${comparisons} comparisons`, more, counts);
  expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(events);
}, 600_000);
