import { expect, test } from 'vitest';
import { flood } from '../stage/proof-flood.ts';
import { openWayIn } from '../stage/way-in-stage.ts';
import { tries } from '../stage/tries.ts';

test(
  'W6: a flood of 100,000 self-made proofs reaches neither the ledger nor the program, and a good client hardly notices',
  { ...tries, timeout: 600_000 },
  async () => {
    const stage = await openWayIn({ sections: { tasks: { linger: '0s' } } });
    try {
      const proofs = 100_000;
      const { codes, entries, capacity, medians, goodCalls } = await flood(stage, proofs, 20);
      console.log(`${Math.round(capacity)} refusals/s, medians`, medians, `of ${goodCalls} good calls`);
      expect(codes).toEqual({ token_foreign_presenter: proofs * 0.9, token_missing: proofs * 0.1 });
      expect(entries.after).toBe(entries.before);
      expect(await stage.sidecar.metric('waybill_ledger_entries')).toBeLessThanOrEqual(goodCalls);
      expect(medians.flooded).toBeLessThan(medians.quiet * 2);
      expect(stage.program.seen.filter(({ path }) => path !== '/good')).toEqual([]);
    } finally {
      await stage.close();
    }
  },
);
