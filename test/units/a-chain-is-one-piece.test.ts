import { expect, test } from 'vitest';
import { formatChain } from '../../proxy/delegation/chain.ts';
import { digestOf } from '../../proxy/delegation/link.ts';
import { limits, openReceiver } from '../fakes/chain-receiver.ts';
import { chainAlong, linkOf, openHop, root, subject, tool, type Change } from '../fakes/delegation-hops.ts';

const { nowMs, authority, hops, three, honest, expecting, outcome, changed } = await openReceiver();
const [planner, worker, clerk] = three;
const [first, second, third] = honest;

test('a chain that is missing, or over the limits', () => {
  expect(outcome(undefined)).toBe('chain_missing');
  const five = formatChain(chainAlong(hops, {}, nowMs));
  const last = hops.at(-1)!;
  expect(outcome(five, expecting(last, { limits: { ...limits, maxLinks: 4 } }))).toBe('chain_too_deep');
  expect(outcome(five, expecting(last))).toBe('ok');
  // Also once it is known.
  expect(outcome(five, expecting(last, { limits: { ...limits, maxLinks: 4 } }))).toBe('chain_too_deep');
  expect(outcome(five, expecting(last, { limits: { ...limits, maxBytes: five.length - 1 } }))).toBe('chain_too_deep');
  expect(outcome(five, expecting(last, { limits: { ...limits, maxBytes: five.length } }))).toBe('ok');
  expect(outcome(formatChain([...chainAlong(hops, {}, nowMs), first]), expecting(last))).toBe('chain_too_deep');
});

test('spliced: links left out, repeated, reordered, or of another chain', async () => {
  const other = chainAlong(three, { 0: { txn: 'txn-2' } }, nowMs);
  const foreign = await openHop(authority, 'intruder');
  const inserted = linkOf(three, 1, first, foreign, {}, nowMs);
  const rows: readonly [string, readonly string[]][] = [
    ['one in the middle left out', [first, third]],
    ['the first left out', [second, third]],
    ['only the last left', [third]],
    ['two swapped', [second, first, third]],
    ['the last two swapped', [first, third, second]],
    ['backwards', [third, second, first]],
    ['one repeated', [first, first, second, third]],
    ['the last repeated', [first, second, third, third]],
    ['the head of another chain', [other[0]!, second, third]],
    ['the middle of another chain', [first, other[1]!, third]],
    ['the end of another chain', [first, second, other[2]!]],
    ['two chains as one', [first, ...other]],
    ['a link of a stranger between', [first, inserted, second, third]],
    ['a link of a stranger in place of one', [first, inserted, third]],
  ];
  for (const [name, links] of rows) expect(outcome(formatChain(links)), name).toBe('chain_spliced');
});

test('spliced: what a link says does not follow from the one before', () => {
  const seconds = Math.floor(nowMs / 1000);
  const all = [worker.resource, clerk.resource, tool];
  const rows: readonly [string, Readonly<Record<number, Change>>][] = [
    ['another subject', { 1: { sub: 'mallory' } }],
    ['another subject at the end', { 2: { sub: 'mallory' } }],
    ['another issuer of the subject', { 2: { sub_iss: 'https://evil.example.org' } }],
    ['a root that is not the subject', { 0: { root: { ...root, sub: 'mallory' } } }],
    ['a root of another issuer', { 0: { root: { ...root, iss: 'https://evil.example.org' } } }],
    ['a first link that continues something', { 0: { without: ['root'], prev: digestOf('x') } }],
    ['a second beginning', { 1: { without: ['prev'], root } }],
    ['a hash of something else', { 1: { prev: digestOf('x') } }],
    ['a hash of the first link in the third', { 2: { prev: digestOf(first) } }],
    ['a resource more', { 1: { may: { resources: [...all, 'https://bank.example.org'], risk: 'write', hops: 1 } } }],
    ['a resource that came back', { 1: { may: { resources: [clerk.resource], risk: 'write', hops: 1 } } }],
    ['a graver risk', { 2: { may: { resources: [tool], risk: 'deploy', hops: 0 } } }],
    ['a graver risk again', { 1: { may: { resources: all, risk: 'read', hops: 1 } } }],
    ['as many hops', { 1: { may: { resources: [clerk.resource, tool], risk: 'write', hops: 2 } } }],
    ['more hops', { 2: { may: { resources: [tool], risk: 'write', hops: 7 } } }],
    ['no hop left', { 0: { may: { resources: all, risk: 'write', hops: 1 } } }],
    ['no hop at all', { 0: { may: { resources: all, risk: 'write', hops: 0 } } }],
    ['a later end', { 1: { exp: seconds + 301 } }],
    ['a later end of the last', { 2: { exp: seconds + 300 } }],
    ['no room for us', { 2: { may: { resources: [clerk.resource], risk: 'write', hops: 0 } } }],
  ];
  for (const [name, changes] of rows) expect(outcome(changed(changes)), name).toBe('chain_spliced');
  // The same end, a milder risk and fewer resources are within what was delegated.
  expect(outcome(changed({ 1: { exp: seconds + 300 }, 2: { exp: seconds + 300 } }))).toBe('ok');
  expect(
    outcome(
      changed({
        1: { may: { resources: [tool], risk: 'write', hops: 1 } },
        2: { may: { resources: [tool], risk: 'read', hops: 0 } },
      }),
    ),
  ).toBe('ok');
});

test('spliced: the token is for another subject', () => {
  const value = formatChain(honest);
  for (const other of [
    { ...subject, sub: 'bob' },
    { ...subject, iss: `${subject.iss}/` },
  ]) {
    expect(outcome(value, expecting(clerk, { subject: other }))).toBe('chain_spliced');
  }
  expect(outcome(value, expecting(clerk, { subject: undefined }))).toBe('chain_spliced');
  // A root for whom the thief has a token, in front of links for somebody else.
  for (const other of [
    { ...subject, sub: 'mallory' },
    { ...subject, iss: 'https://evil.example.org' },
  ]) {
    const rooted = changed({ 0: { root: { ...root, ...other } } });
    for (const held of [other, subject])
      expect(outcome(rooted, expecting(clerk, { subject: held }))).toBe('chain_spliced');
  }
});

test('spliced: a hop comes twice', () => {
  expect(outcome(formatChain(chainAlong([planner, worker, planner], {}, nowMs)), expecting(planner))).toBe(
    'chain_spliced',
  );
  expect(outcome(formatChain(chainAlong([planner, planner], {}, nowMs)), expecting(planner))).toBe('chain_spliced');
});

test('off path: for another tool, cut at its end, or sent by somebody else', () => {
  expect(outcome(formatChain(honest), expecting(clerk, { resource: 'https://bank.example.org' }))).toBe(
    'chain_off_path',
  );
  expect(outcome(formatChain(honest), expecting(clerk, { resource: `${tool}/` }))).toBe('chain_off_path');
  expect(outcome(changed({ 2: { aud: 'https://bank.example.org' } }))).toBe('chain_off_path');
  expect(outcome(formatChain([first, second]), expecting(worker))).toBe('chain_off_path');
  expect(outcome(formatChain([first]), expecting(planner))).toBe('chain_off_path');
  expect(outcome(formatChain(honest), expecting(worker))).toBe('chain_off_path');
});
