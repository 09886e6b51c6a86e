import { describe, expect, test } from 'vitest';
import { hasSuites, modes, readRows, runRows } from '../stage/smuggle-suite.ts';

describe.concurrent('W2: the whole suite te-mutations finds no second request in one', () => {
  test.for(modes)('%s', { timeout: 600_000 }, async (mode, context) => {
    if (!hasSuites) context.skip('suites not present');
    const verdicts = await runRows(mode, readRows('te-mutations'), 590_000);
    const failing = verdicts.filter(({ pass }) => !pass).map(({ id, verdict, why }) => `${id}: ${verdict} ${why}`);
    expect(failing).toEqual([]);
    expect(verdicts.length).toBeGreaterThan(900);
  });
});
