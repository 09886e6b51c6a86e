import { expect, test } from 'vitest';
import { hasSuites, readRows } from '../stage/smuggle-suite.ts';
import { runRowsIn } from '../stage/smuggle-suite-in.ts';

/** All rows of the small suites, and a sample of the large one (whole in test/real). */
const suites: readonly (readonly [suite: string, every: number])[] = [
  ['llhttp', 1],
  ['http-desync-guardian', 1],
  ['extra-semantics', 1],
  ['gunicorn-requests', 1],
  ['te-mutations', 16],
];

test(
  'W2: on the way in no row of the suites desyncs, dirties or loosens the connection to the program',
  { timeout: 170_000 },
  async (context) => {
    if (!hasSuites) {
      console.log('skipped: suites not present');
      context.skip('suites not present');
    }
    const rows = suites.flatMap(([suite, every]) => readRows(suite, every));
    const verdicts = await runRowsIn(rows, 160_000);
    const failing = verdicts
      .filter(({ pass }) => !pass)
      .map(({ id, expect: wanted, verdict, why }) => `${id} (${wanted}): ${verdict} ${why}`);
    expect(failing).toEqual([]);
    expect(verdicts.filter(({ verdict }) => /^(?:DESYNC|DIRTY|LENIENT)$/.test(verdict))).toEqual([]);
    // Of those that must be refused none came to the program, and a good part of the others did.
    const passed = verdicts.filter(({ verdict }) => verdict === 'CLEAN').length;
    expect(passed).toBeGreaterThan(40);
    expect(verdicts.length).toBeGreaterThan(rows.length * 0.9);
  },
);
