import { expect, test } from 'vitest';
import { checkChain, formatChain } from '../../proxy/delegation/chain.ts';
import { Memo } from '../../proxy/trust/memo.ts';
import { findTrustedPath } from '../../proxy/trust/svid-paths.ts';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openReceiver } from '../fakes/chain-receiver.ts';
import { chainAlong, openHop, subject, tool } from '../fakes/delegation-hops.ts';
import { bundleOf } from '../fakes/trust-bundle.ts';
import { tries } from '../stage/tries.ts';

const { nowMs, hops, authority, authoritiesOf, expecting, outcome, honest, three } = await openReceiver();
const [planner, worker, clerk] = three;

function timeOf(check: () => void): number {
  const start = performance.now();
  check();
  return performance.now() - start;
}
const median = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1]!;

test('signatures of the same text are not verified again', tries, () => {
  const last = hops.at(-1)!;
  const chains = Array.from({ length: 40 }, (_, index) =>
    formatChain(chainAlong(hops, { 0: { txn: `txn-${index}` } }, nowMs)),
  );
  const first = chains.map((value) => timeOf(() => checkChain(value, expecting(last))));
  const again = chains.map((value) => timeOf(() => checkChain(value, expecting(last))));
  // Five signatures take hundreds of microseconds, a digest and a look-up some ten.
  expect(median(again) * 5).toBeLessThan(median(first));
  const [value = ''] = chains;
  expect(checkChain(value, expecting(last))).toBe(checkChain(value, expecting(last)));
});

test('the path of an SVID is verified once for all links that it signs', () => {
  const { chain } = worker.identity;
  const found = findTrustedPath(chain, authoritiesOf, nowMs);
  expect(findTrustedPath([...chain], authoritiesOf, nowMs + 1000)).toBe(found);
  expect(() => findTrustedPath(chain, authoritiesOf, found.path.notAfterMs)).toThrow('expired');
  expect(() => findTrustedPath(chain, () => undefined, nowMs)).toThrow('no_bundle');
  expect(() => findTrustedPath(chain, () => bundleOf(), nowMs)).toThrow('untrusted');
});

test('presenter, resource, subject and time are looked at every time', () => {
  const value = formatChain(honest);
  for (let round = 0; round < 2; round++) {
    expect(outcome(value)).toBe('ok');
    expect(outcome(value, expecting(worker))).toBe('chain_off_path');
    expect(outcome(value, expecting(clerk, { resource: `${tool}/x` }))).toBe('chain_off_path');
    expect(outcome(value, expecting(clerk, { subject: { ...subject, sub: 'bob' } }))).toBe('chain_spliced');
  }
  const endMs = checkChain(value, expecting(clerk)).expiresAtMs;
  expect(outcome(value, expecting(clerk, { nowMs: endMs - 1 }))).toBe('ok');
  expect(outcome(value, expecting(clerk, { nowMs: endMs }))).toBe('chain_broken');
});

test('a refused chain is not remembered as a good one', () => {
  const value = formatChain(chainAlong([planner, worker, planner], {}, nowMs));
  for (let round = 0; round < 3; round++) expect(outcome(value, expecting(planner))).toBe('chain_spliced');
  const good = formatChain(honest);
  // The last character of a signature holds four bits that must be 0, so the one before it is changed; never to what it was.
  const tampered = `${good.slice(0, -2)}${good.at(-2) === 'A' ? 'B' : 'A'}${good.at(-1)}`;
  for (let round = 0; round < 3; round++) expect(outcome(tampered)).toBe('chain_broken');
});

test('an authority that is taken out of its bundle takes known chains with it', async () => {
  const second = await openAuthority('example.org');
  const hop = await openHop(second, 'clerk');
  const value = formatChain(chainAlong([planner, worker, hop], {}, nowMs));
  const [old, next] = [authority.bundle().x509Der, second.bundle().x509Der];
  const among =
    (...anchors: readonly Buffer[]) =>
    () =>
      bundleOf(...anchors);
  expect(outcome(value, expecting(hop, { authoritiesOf: among(old, next) }))).toBe('ok');
  // Known, and the same authorities in another list.
  expect(outcome(value, expecting(hop, { authoritiesOf: among(old, Buffer.from(next)) }))).toBe('ok');
  expect(outcome(value, expecting(hop, { authoritiesOf: among(old) }))).toBe('chain_broken');
  expect(outcome(value, expecting(hop, { authoritiesOf: among(next) }))).toBe('chain_broken');
  expect(outcome(value, expecting(hop, { authoritiesOf: () => undefined }))).toBe('chain_broken');
  expect(outcome(value, expecting(hop, { authoritiesOf }))).toBe('chain_broken');
  expect(outcome(value, expecting(hop, { authoritiesOf: among(next, old) }))).toBe('ok');
});

test('what is remembered is bounded, and the longest unused goes first', () => {
  const memo = new Memo<number>(3);
  for (const [index, key] of ['a', 'b', 'c'].entries()) memo.set(key, index);
  expect(memo.get('a')).toBe(0);
  memo.set('d', 3);
  expect(['a', 'b', 'c', 'd'].map((key) => memo.get(key))).toEqual([0, undefined, 2, 3]);
  memo.set('a', 9);
  memo.set('e', 4);
  expect(['a', 'c', 'd', 'e'].map((key) => memo.get(key))).toEqual([9, undefined, 3, 4]);
  memo.delete('a');
  expect(memo.get('a')).toBeUndefined();
});
