import { expect, test } from 'vitest';
import { measureLedger } from '../../../loadtest/ledger.ts';

test('the measurement of the ledger fills it, replaces what expires, and counts what it did', async () => {
  const report = await measureLedger(40_000);
  expect(report.entries).toBe(40_000);
  expect(report.freshBytes).toBeLessThan(1_000_000);
  expect(report.bytesPerEntry).toBeGreaterThan(16);
  expect(report.bytesPerEntry).toBeLessThan(60);
  expect(report.claimsPerSecond).toBeGreaterThan(1000);
  for (const ms of [report.longestPauseMs, report.idlePauseMs, report.typicalPauseMs, report.typicalIdlePauseMs]) {
    expect(ms).toBeGreaterThan(0);
  }
});
