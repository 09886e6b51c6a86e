import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatChain, splitChain } from '../../proxy/delegation/chain.ts';
import { digestOf } from '../../proxy/delegation/link.ts';
import { openReceiver } from '../fakes/chain-receiver.ts';
import { chainAlong, linkOf, tool, type Change, type Hop } from '../fakes/delegation-hops.ts';

const { nowMs, hops, expecting, outcome } = await openReceiver();
const seconds = Math.floor(nowMs / 1000);
const risks = ['read', 'write', 'deploy', 'payment', 'export'] as const;

/** A path of one to five hops, in any order. */
const paths = fc.shuffledSubarray([...hops], { minLength: 1, maxLength: 5 });
const lastOf = (path: readonly Hop[]): Hop => path.at(-1)!;

test('every honest chain passes, whatever it says and however it narrows', () => {
  fc.assert(
    fc.property(
      paths,
      fc.string(),
      fc.string({ minLength: 1 }),
      fc.array(fc.nat(60), { minLength: 5, maxLength: 5 }),
      fc.array(fc.nat(4), { minLength: 5, maxLength: 5 }),
      fc.nat(9),
      (path, purpose, txn, ends, graves, spare) => {
        let [exp, risk] = [seconds + 400, 4];
        const changes = path.map((_hop, index): Change => {
          exp -= ends[index]!;
          risk = Math.min(risk, graves[index]!);
          const resources = [
            ...path.slice(index + 1).map(({ resource }) => resource),
            tool,
            ...(index === 0 ? ['https://x.example.org'] : []),
          ];
          return { exp, purpose, txn, may: { resources, risk: risks[risk]!, hops: path.length - 1 - index + spare } };
        });
        expect(outcome(formatChain(chainAlong(path, changes, nowMs)), expecting(lastOf(path)))).toBe('ok');
      },
    ),
    { numRuns: 100 },
  );
});

test('no other list of honest links passes: left out, repeated, reordered or of two chains', () => {
  fc.assert(
    fc.property(paths, paths, fc.array(fc.nat(9), { minLength: 1, maxLength: 5 }), (one, other, picks) => {
      const mine = chainAlong(one, {}, nowMs);
      const pool = [...mine, ...chainAlong(other, { 0: { txn: 'txn-2' } }, nowMs)];
      const links = picks.map((pick) => pool[pick % pool.length]!);
      const isMine = links.join() === mine.join();
      const isOther = links.join() === pool.slice(mine.length).join();
      fc.pre(!isMine && !isOther);
      const last = one.length === links.length ? lastOf(one) : lastOf(other);
      // Where all that is left is the beginning of a chain, it leads elsewhere; all else is no chain.
      const isBeginning = [mine, pool.slice(mine.length)].some(
        (chain) => chain.slice(0, links.length).join() === links.join(),
      );
      expect(outcome(formatChain(links), expecting(last))).toBe(isBeginning ? 'chain_off_path' : 'chain_spliced');
    }),
    { numRuns: 200 },
  );
});

/** Claims of one link, each of them made wider than the link before it allows. */
const widened = (path: readonly Hop[], index: number): fc.Arbitrary<Change> => {
  const resources = [...path.slice(index + 1).map(({ resource }) => resource), tool];
  const may = { resources, risk: 'write' as const, hops: path.length - 1 - index };
  return fc.oneof(
    fc.webUrl().map((more) => ({ may: { ...may, resources: [...resources, `${more}#`] } })),
    fc
      .constantFrom('deploy' as const, 'payment' as const, 'export' as const)
      .map((risk) => ({ may: { ...may, risk } })),
    fc.integer({ min: 1, max: 1000 }).map((more) => ({ may: { ...may, hops: may.hops + more } })),
    fc.integer({ min: 2, max: 100_000 }).map((more) => ({ exp: seconds + 300 - index + more })),
    fc.string({ minLength: 1 }).map((sub) => ({ sub: `${sub}x` })),
    fc.string().map((subIssuer) => ({ sub_iss: `${subIssuer}x` })),
    fc.string().map((text) => ({ prev: digestOf(text) })),
  );
};

test('a hop that widens, outlives or changes what it got is found, wherever it stands', () => {
  const cases = paths
    .filter((path) => path.length > 1)
    .chain((path) =>
      fc
        .integer({ min: 1, max: path.length - 1 })
        .chain((index) => widened(path, index).map((change) => ({ path, index, change }))),
    );
  fc.assert(
    fc.property(cases, ({ path, index, change }) => {
      expect(outcome(formatChain(chainAlong(path, { [index]: change }, nowMs)), expecting(lastOf(path)))).toBe(
        'chain_spliced',
      );
    }),
    { numRuns: 200 },
  );
});

test('no change of a text passes, and none is a fault', () => {
  const value = formatChain(chainAlong(hops.slice(0, 2), {}, nowMs));
  const last = hops[1]!;
  const edits = fc.record({
    at: fc.nat(value.length),
    cut: fc.nat(3),
    put: fc.oneof(fc.string({ maxLength: 3 }), fc.constantFrom(', ', '=', '.', 'ey', ' ', '\n', '%2e', 'é')),
  });
  fc.assert(
    fc.property(edits, ({ at, cut, put }) => {
      const text = value.slice(0, at) + put + value.slice(at + cut);
      fc.pre(text !== value);
      expect(['chain_broken', 'chain_spliced', 'chain_off_path']).toContain(outcome(text, expecting(last)));
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
      expect(outcome(text, expecting(last))).toBe('chain_broken');
    }),
  );
});

test('a link behind a stolen chain does not make its thief a hop, unless a hop was delegated', () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([...hops], { minLength: 2, maxLength: 5 }), (path) => {
      const thief = lastOf(path);
      const victims = path.slice(0, -1);
      const stolen = formatChain(chainAlong(victims, {}, nowMs));
      const own = linkOf([thief], 0, splitChain(stolen).at(-1), thief, {}, nowMs);
      expect(outcome(`${stolen}, ${own}`, expecting(thief))).toBe('chain_spliced');
      expect(outcome(stolen, expecting(thief))).toBe('chain_off_path');
    }),
    { numRuns: 50 },
  );
});
