import { expect, test } from 'vitest';
import { hasSuites, readRows } from '../stage/smuggle-suite.ts';
import { runRowsIn } from '../stage/smuggle-suite-in.ts';

test(
  'W2: on the way in none of 929 mutated framings smuggles a request to the program',
  { timeout: 600_000 },
  async (context) => {
    if (!hasSuites) context.skip('suites not present');
    const verdicts = await runRowsIn(readRows('te-mutations'), 590_000);
    expect(verdicts.filter(({ pass }) => !pass)).toEqual([]);
  },
);
