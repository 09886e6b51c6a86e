import { expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { flood } from '../stage/proof-flood.ts';
import { refusalCounts } from '../stage/refused-way-in.ts';
import { openWayIn } from '../stage/way-in-stage.ts';
import { tries } from '../stage/tries.ts';

test(
  'W6: a flood of 20,000 self-made proofs reaches neither the ledger nor the program, and a good client hardly notices',
  { ...tries, timeout: 120_000 },
  async () => {
    const stage = await openWayIn({ sections: { tasks: { linger: '0s' } } });
    try {
      const before = await refusalCounts(stage.sidecar);
      const proofs = 20_000;
      const { codes, entries, capacity, medians, goodCalls } = await flood(stage, proofs, 10);
      console.log(`${Math.round(capacity)} refusals/s, medians`, medians, `of ${goodCalls} good calls`);
      expect(codes).toEqual({ token_foreign_presenter: proofs * 0.9, token_missing: proofs * 0.1 });
      expect(entries.before).toBe(25);
      expect(entries.after).toBe(entries.before);
      expect(await stage.sidecar.metric('waybill_ledger_entries')).toBeLessThanOrEqual(goodCalls);
      expect(medians.flooded).toBeLessThan(medians.quiet * 2);
      expect(stage.program.seen.filter(({ path }) => path !== '/good')).toEqual([]);
      const after = await refusalCounts(stage.sidecar);
      const grown = (key: string): number => (after.get(key) ?? 0) - (before.get(key) ?? 0);
      expect(grown('replay token_foreign_presenter proven')).toBe(proofs * 0.9);
    } finally {
      await stage.close();
    }
  },
);

test('W6: the gauge of spent proofs falls to 0 though nobody calls any more', async () => {
  const stage = await openWayIn({ sections: { replay: { window: '2s', future: '1s' } } });
  try {
    const caller = await stage.caller();
    for (let count = 0; count < 3; count += 1) expect((await caller.call({ path: `/${count}` })).status).toBe(200);
    const entries = () => stage.sidecar.metric('waybill_ledger_entries');
    expect(await entries()).toBe(3);
    await eventually('they are forgotten', async () => (await entries()) === 0, 12_000);
  } finally {
    await stage.close();
  }
});
