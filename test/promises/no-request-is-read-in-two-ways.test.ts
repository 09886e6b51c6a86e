import { describe, expect, test } from 'vitest';
import { hasSuites, modes, readRows, runRows } from '../stage/smuggle-suite.ts';

/** All rows of the small suites, and a sample of the large one (whole in test/real). */
const suites: readonly (readonly [suite: string, every: number])[] = [
  ['llhttp', 1],
  ['http-desync-guardian', 1],
  ['extra-semantics', 1],
  ['gunicorn-requests', 1],
  ['te-mutations', 16],
];

describe.concurrent('W2: what the tool reads is the one request that was judged', () => {
  test.for(modes)(
    'no row of the suites desyncs, dirties or loosens the connection to the tool: %s',
    { timeout: 170_000 },
    async (mode, context) => {
      if (!hasSuites) {
        console.log('skipped: suites not present');
        context.skip('suites not present');
      }
      const rows = suites.flatMap(([suite, every]) => readRows(suite, every));
      const verdicts = await runRows(mode, rows, 160_000);
      const failing = verdicts
        .filter(({ pass }) => !pass)
        .map(({ id, expect: wanted, verdict, why }) => `${id} (${wanted}): ${verdict} ${why}`);
      expect(failing).toEqual([]);
      expect(verdicts.filter(({ verdict }) => /^(?:DESYNC|DIRTY|LENIENT)$/.test(verdict))).toEqual([]);
      // Rows of responses are not for the way out and are left out by the runner.
      expect(verdicts.length).toBeGreaterThan(rows.length * 0.9);
    },
  );
});
