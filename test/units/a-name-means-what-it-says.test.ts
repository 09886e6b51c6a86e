import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { NameMemo } from '../../proxy/trust/name-memo.ts';

/** Few letters in few lengths: most of these share their place with another. */
const crowded = fc.string({ unit: fc.constantFrom('a', 'A', 'b', '-', '_', 'é'), maxLength: 7 });
const any = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 40,
});

test('whatever came before, a name means what it says, as text and as bytes', () => {
  const memo = new NameMemo((name) => `<${name}>`);
  fc.assert(
    fc.property(fc.array(fc.oneof(crowded, any), { maxLength: 50 }), (names) => {
      for (const name of names) {
        expect(memo.of(name)).toBe(`<${name}>`);
        expect(memo.ofBytes(Buffer.from(name, 'latin1'))).toEqual({ name, meaning: `<${name}>` });
      }
      for (const name of names.toReversed()) {
        expect(memo.ofBytes(Buffer.from(name, 'latin1'))).toEqual({ name, meaning: `<${name}>` });
        expect(memo.of(name)).toBe(`<${name}>`);
      }
    }),
    { numRuns: 300 },
  );
});

test('a name that was met is not judged again, in either form, and memory does not grow', () => {
  const judged: string[] = [];
  const memo = new NameMemo((name) => judged.push(name));
  for (let time = 0; time < 3; time += 1) {
    memo.of('Content-Type');
    memo.ofBytes(Buffer.from('Content-Type'));
  }
  expect(judged).toEqual(['Content-Type']);
  // Another one in the same place: its first, middle and last letters are the same.
  memo.of('Cantent-Type');
  memo.of('Content-Type');
  expect(judged).toEqual(['Content-Type', 'Cantent-Type', 'Content-Type']);
});
