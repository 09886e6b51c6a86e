import { expect, test } from 'vitest';
import { listFiles, readSource } from './sources.ts';

/** Promises whose part of the program is not built yet. A promise leaves this list with its first test. */
const later: ReadonlyMap<string, string> = new Map();

const page = 'ARCHITECTURE.md';
const all = Array.from({ length: 13 }, (_, index) => `W${index + 1}`);

/** Numbers inside the string literals of a test: its own name or the name of its group. A comment proves nothing. */
function readProved(path: string): string[] {
  const literals = readSource(path).matchAll(/(['"`])(?:(?!\1)[^\\\n]|\\.)*\1/g);
  return [...literals].flatMap(([literal]) => [...literal.matchAll(/\bW\d+\b/g)].map(([number]) => number));
}

const proved = new Set(
  listFiles('test/promises')
    .filter((path) => path.endsWith('.test.ts'))
    .flatMap(readProved),
);

test(`${page} lists the promises W1 to W13, each once`, () => {
  expect([...readSource(page).matchAll(/^\|\s*\**(W\d+)\**\s*\|/gm)].map(([, number]) => number)).toEqual(all);
});

test('every promise is named by a test in test/promises, or stands in the list of later ones', () => {
  for (const [promise, why] of later) console.log(`later: ${promise}, ${why}`);
  expect(all.filter((promise) => !proved.has(promise) && !later.has(promise))).toEqual([]);
});

test('no test names a promise that does not exist, and no promise with a test is called later', () => {
  expect([...proved].filter((promise) => !all.includes(promise))).toEqual([]);
  expect([...later.keys()].filter((promise) => proved.has(promise))).toEqual([]);
});
