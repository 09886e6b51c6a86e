import { expect, test } from 'vitest';
import { digestOf } from '../../proxy/delegation/link.ts';
import { CutOffs, type CutOff, type Opening } from '../../proxy/tasks/cut-offs.ts';
import { always, Freshness } from '../../proxy/tasks/freshness.ts';
import { concerns, tokenOf, type Principal } from '../../proxy/tasks/principals.ts';
import { Secret } from '../../proxy/trust/secret.ts';

const opening = (sub: string, more: Partial<Opening> = {}): Opening => ({
  subject: { iss: 'https://sso.example.org', sub, kind: 'user' },
  grant: undefined,
  issuedAtMs: 1000,
  ...more,
});
const subject = (sub: string) => ({ kind: 'subject', iss: 'https://sso.example.org', sub }) as const;
const none = (): readonly string[] => [];
const cutOffsOf = (own: () => readonly string[], cutOffs: readonly CutOff[]) =>
  new CutOffs(own, { cutOffs, txns: [] }, new Freshness(() => 0, always));

test('when there are too many, what is forgotten is refused with everything of its time, and never let in', () => {
  const cutOffs = cutOffsOf(none, []);
  for (let at = 0; at < 5000; at++) cutOffs.add(subject(`user${at}`), 10_000 + at);
  expect(cutOffs.list().length).toBeLessThanOrEqual(4096);
  for (const at of [0, 1, 903, 904, 4999]) {
    expect(cutOffs.stops(opening(`user${at}`, { issuedAtMs: 10_000 + at - 1 })), `user${at}`).toBe(true);
    expect(cutOffs.stops(opening(`user${at}`, { issuedAtMs: 20_000 })), `user${at}`).toBe(false);
  }
  expect(cutOffs.stops(opening('somebody', { issuedAtMs: 20_000 }))).toBe(false);
  expect(cutOffs.stops(opening('somebody', { issuedAtMs: 9999 }))).toBe(true);
});

test('too many end no standing task, and what stops one is remembered', () => {
  const own = (): readonly string[] => ['invoice-bot', 'spiffe://example.org/bot'];
  const standing: Opening = {
    subject: { iss: '', sub: 'spiffe://example.org/bot', kind: 'agent' },
    grant: undefined,
    standing: true,
  };
  const flooded = (first?: Principal): CutOffs => {
    const cutOffs = cutOffsOf(own, first === undefined ? [] : [{ principal: first, beforeMs: 1 }]);
    for (let at = 0; at < 5000; at++) cutOffs.add(subject(`user${at}`), 10_000 + at);
    return cutOffs;
  };
  expect(flooded().stops(standing)).toBe(false);
  for (const first of [
    { kind: 'agent', id: 'invoice-bot' },
    { kind: 'subject', iss: '', sub: 'spiffe://example.org/bot' },
    { kind: 'all' },
  ] as const)
    expect(flooded(first).stops(standing), first.kind).toBe(true);
  const tool = { kind: 'tool', name: 'crm' } as const;
  expect(flooded(tool).closedTools(new Set(['crm']), undefined).size).toBe(1);
  // Of those alone, too: at most so many are kept, and nothing of it is let in.
  const tools = cutOffsOf(own, []);
  for (let at = 0; at < 5000; at++) tools.add({ kind: 'tool', name: `tool${at}` }, 10_000 + at);
  expect([tools.list().length <= 4096, tools.stops(standing)]).toEqual([true, true]);
});

test('what may be forgotten is who calls with an old certificate, and whom an old chain began with', () => {
  const cutOffs = cutOffsOf(none, [{ principal: { kind: 'forgotten' }, beforeMs: 2000 }]);
  const chain = {
    value: '',
    path: [],
    txns: [],
    root: { iss: '', sub: 'alice', jti_hash: '' },
    begunAtMs: 1000,
    may: { resources: [], risk: 'read', hops: 0 },
    expiresAtMs: 1,
  } as const;
  const fresh = { issuedAtMs: 3000, callerIssuedAtMs: 3000, chain: { ...chain, begunAtMs: 3000 } };
  const changes: readonly Partial<Opening>[] = [
    {},
    { issuedAtMs: 1000 },
    { issuedAtMs: undefined },
    { callerIssuedAtMs: 1000 },
    { chain },
  ];
  expect(changes.map((change) => cutOffs.stops(opening('bob', { ...fresh, ...change })))).toEqual([
    false,
    true,
    true,
    true,
    true,
  ]);
});

test('a second cut-off never moves the first one back, also when they are read from a file', () => {
  const cutOffs = cutOffsOf(none, [{ principal: subject('alice'), beforeMs: 2000 }]);
  cutOffs.add(subject('alice'), 500);
  expect(cutOffs.stops(opening('alice'))).toBe(true);
  expect(cutOffsOf(none, cutOffs.list()).stops(opening('alice'))).toBe(true);
});

test('an unknown time of issue is before every cut-off, and no cut-off concerns nobody', () => {
  const cutOffs = cutOffsOf(none, []);
  const undated = opening('alice', { issuedAtMs: undefined });
  expect(cutOffs.stops(undated)).toBe(false);
  cutOffs.add(subject('alice'), 500);
  expect([cutOffs.stops(undated), cutOffs.stops(opening('alice')), cutOffs.stops(opening('bob'))]).toEqual([
    true,
    false,
    false,
  ]);
  expect(cutOffs.stops({ ...undated, subject: { ...undated.subject, iss: 'https://other.example.org' } })).toBe(false);
});

test('a workload is stopped wherever it has a hand: beside us, as caller, in the chain, as actor, as its own subject', () => {
  const id = 'spiffe://example.org/planner';
  const chain = {
    value: '',
    path: [id],
    txns: ['txn-1'],
    root: { iss: '', sub: 'alice', jti_hash: '' },
    begunAtMs: 3000,
    may: { resources: [], risk: 'read', hops: 0 },
    expiresAtMs: 1,
  } as const;
  const grant = {
    token: new Secret('x'),
    tokenType: '',
    iss: '',
    sub: '',
    expiresAtMs: 1,
    act: { sub: 'x', act: { sub: id } },
  };
  const hands: readonly Partial<Opening>[] = [
    { caller: id },
    { chain },
    { grant },
    { subject: { iss: '', sub: id, kind: 'workload' } },
  ];
  for (const hand of hands) {
    const cutOffs = cutOffsOf(none, [{ principal: { kind: 'agent', id }, beforeMs: 2000 }]);
    expect(cutOffs.stops(opening('alice', hand))).toBe(true);
    expect(cutOffs.stops(opening('alice', { ...hand, issuedAtMs: 3000 }))).toBe(false);
  }
  expect(cutOffsOf(() => [id], [{ principal: { kind: 'agent', id }, beforeMs: 2000 }]).stops(opening('alice'))).toBe(
    true,
  );
  // A user who is called like the workload is somebody else.
  expect(cutOffsOf(none, [{ principal: { kind: 'agent', id }, beforeMs: 2000 }]).stops(opening(id))).toBe(false);
});

test('a caller with an old certificate stays out, whatever new token it brings', () => {
  const id = 'spiffe://example.org/planner';
  const cutOffs = cutOffsOf(none, [{ principal: { kind: 'agent', id }, beforeMs: 2000 }]);
  const fresh = { caller: id, issuedAtMs: 3000 };
  expect(cutOffs.stops(opening('alice', { ...fresh, callerIssuedAtMs: 1000 }))).toBe(true);
  expect(cutOffs.stops(opening('alice', { ...fresh, callerIssuedAtMs: 2500 }))).toBe(false);
});

test('whom or what a chain began with is stopped, also where the request says nothing of it', () => {
  const root = { iss: 'https://corp.example.org', sub: 'alice' };
  const chain = {
    value: '',
    path: ['spiffe://example.org/planner'],
    txns: ['txn-1'],
    root: { ...root, jti_hash: digestOf('token-7') },
    begunAtMs: 3000,
    may: { resources: [], risk: 'read', hops: 0 },
    expiresAtMs: 1,
  } as const;
  const token = tokenOf(root.iss, 'token-7');
  const stops = (principal: Principal, beforeMs: number) =>
    cutOffsOf(none, [{ principal, beforeMs }]).stops(opening('workload', { chain }));
  expect([stops(token, 0), stops(tokenOf(root.iss, 'token-8'), 5000)]).toEqual([true, false]);
  const alice = { kind: 'subject', ...root } as const;
  expect([stops(alice, 3000), stops(alice, 3001), stops({ ...alice, sub: 'bob' }, 3001)]).toEqual([false, true, false]);
  const task = { ...opening('workload'), chain };
  expect([token, alice, { ...alice, sub: 'bob' } as const].map((one) => concerns(one, task, []))).toEqual([
    true,
    true,
    false,
  ]);
});
