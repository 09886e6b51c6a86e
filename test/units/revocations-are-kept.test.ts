import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readCutOffs, writeCutOffs } from '../../proxy/steward/cut-off-file.ts';
import { readTxn } from '../../proxy/steward/fleet-entry.ts';
import { CutOffs, maxCutOffs } from '../../proxy/tasks/cut-offs.ts';
import { Freshness, notYet } from '../../proxy/tasks/freshness.ts';
import { maxRevokedTxns, RevokedTxns, TxnParts } from '../../proxy/tasks/revoked-txns.ts';
import { tokenOf } from '../../proxy/tasks/principals.ts';
import { Secret } from '../../proxy/trust/secret.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-kept-'));
afterAll(() => rmSync(dir, { recursive: true }));

const chain = (...txns: string[]) =>
  ({
    value: '',
    path: [],
    txns,
    root: { iss: '', sub: '', jti_hash: '' },
    begunAtMs: 1,
    may: { resources: [], risk: 'read', hops: 0 },
    expiresAtMs: 1,
  }) as const;
const request = { subject: { iss: '', sub: 'alice', kind: 'user' }, grant: undefined, issuedAtMs: 9e15 } as const;

test('cut-offs and transactions come back as they were; a file from before there were transactions is read', () => {
  const file = join(dir, 'revocations.json');
  const kept = {
    cutOffs: [{ principal: { kind: 'agent', id: 'planner' } as const, beforeMs: 1_800_000_000_123 }],
    txns: [{ txn: 'abc', atMs: 1_800_000_000_456 }],
  };
  writeCutOffs(file, kept);
  expect(readCutOffs(file)).toEqual(kept);
  const { tasks: _, ...before } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify(before));
  expect(readCutOffs(file)).toEqual({ ...kept, txns: [] });
});

test('what is there stays, with the later time of each, within the bounds, and past what another process left', () => {
  const file = join(dir, 'shared.json');
  const user = (sub: string, beforeMs: number) => ({
    principal: { kind: 'subject', iss: '', sub } as const,
    beforeMs,
  });
  writeCutOffs(file, { cutOffs: [user('a', 5000), user('b', 5000)], txns: [{ txn: 'old', atMs: 1000 }] });
  writeFileSync(`${file}.part`, 'half of so');
  writeCutOffs(file, { cutOffs: [user('a', 4000), user('c', 6000)], txns: [{ txn: 'new', atMs: 7000 }] });
  expect(readCutOffs(file)).toEqual({
    cutOffs: [user('b', 5000), user('a', 5000), user('c', 6000)],
    txns: [
      { txn: 'old', atMs: 1000 },
      { txn: 'new', atMs: 7000 },
    ],
  });
  const many = Array.from({ length: maxCutOffs }, (_, at) => user(`u${at}`, 10_000 + at));
  writeCutOffs(file, { cutOffs: many, txns: [] });
  const { cutOffs, txns } = readCutOffs(file);
  expect([cutOffs.length, txns.length]).toEqual([maxCutOffs, 2]);
  expect(readdirSync(dir).some((name) => name.endsWith('.part'))).toBe(false);
});

test('a file that cannot be read is not replaced', () => {
  const file = join(dir, 'broken.json');
  writeFileSync(file, '{');
  expect(() => writeCutOffs(file, { cutOffs: [], txns: [] })).toThrow('cannot be read');
  expect([readFileSync(file, 'utf8'), readdirSync(dir).some((name) => name.endsWith('.part'))]).toEqual(['{', false]);
});

test('a token that was written by its `jti` is the same token', () => {
  const file = join(dir, 'former.json');
  const cutOff = { principal: { kind: 'token', iss: 'https://i', jti: 'a' }, before: '2026-01-01T00:00:00.000Z' };
  writeFileSync(file, JSON.stringify({ version: 1, cut_offs: [cutOff] }));
  expect(readCutOffs(file).cutOffs).toEqual([
    { principal: tokenOf('https://i', 'a'), beforeMs: Date.parse(cutOff.before) },
  ]);
});

test('a file that was damaged is not read as that of somebody else', () => {
  const file = join(dir, 'damaged.json');
  const cutOffs = [{ principal: { kind: 'subject', iss: 'https://i', sub: 'müller' } as const, beforeMs: 1 }];
  writeCutOffs(file, { cutOffs, txns: [] });
  writeFileSync(file, Buffer.from(readFileSync(file, 'utf8'), 'latin1'));
  expect(() => readCutOffs(file)).toThrow(/cannot be read/);
});

test('nothing opens with the chain or the transaction token of a revoked transaction, however new its token', () => {
  const cutOffs = new CutOffs(() => [], { cutOffs: [], txns: [{ txn: 'a', atMs: 1 }] }, new Freshness(() => 0, 1));
  expect(cutOffs.objectionTo({ ...request, chain: chain('b', 'a', 'c') })).toBe('revoked');
  expect(cutOffs.objectionTo({ ...request, chain: chain('b') })).toBeUndefined();
  const txnToken = { text: new Secret('x'), txn: 'a', expiresAtMs: 1 };
  expect(cutOffs.objectionTo({ ...request, txnToken })).toBe('revoked');
});

test('a transaction may be called anything, and is kept and told by a plain name', () => {
  const names = ['abc', 'order 4711', 'ordér-4711', ' ', 't'.repeat(101), 'a\n'];
  for (const txn of names) {
    const here = new RevokedTxns([{ txn, atMs: 1 }]);
    // At another sidecar, and after a restart, there is only what was told.
    const there = new RevokedTxns(here.list());
    const txnToken = { text: new Secret('x'), txn, expiresAtMs: 1 };
    expect([here, there].map((txns) => [txns.isIn({ txnToken }), txns.isIn({ chain: chain(txn) })])).toEqual([
      [true, true],
      [true, true],
    ]);
    expect(there.isIn({ chain: chain(`${txn} other`) })).toBe(false);
    const [told = { txn: '' }] = here.list();
    expect(readTxn({ member: told.txn, score: 1 }, 1)?.what).toEqual({ kind: 'task', txn: told.txn });
    const partsOf = (name: string) => new TxnParts([{ txn: 'x', txnToken }]).take(name).tasks;
    expect([txn, told.txn].map((name) => partsOf(name).length)).toEqual([1, 1]);
  }
});

test('what came back through a part, and what it sent on through a sub-task, takes part too; others do not', () => {
  const main = { txn: 'main' };
  const child = { txn: 'child', parent: main };
  const back = { txn: 'back', chain: chain('child', 'elsewhere') };
  const behind = { txn: 'behind', parent: back };
  const parts = [main, child, back, behind, { txn: 'again', chain: chain('behind') }];
  const other = { txn: 'other', chain: chain('elsewhere') };
  const found = new TxnParts([{ txn: 'another', parent: other }, other, ...parts.toReversed()]).take('main');
  expect(new Set(found.tasks)).toEqual(new Set(parts));
  expect(found.unnamed).toEqual(['child', 'behind']);
});

test('while it is not known what was revoked, only the standing task opens', () => {
  let nowMs = 100;
  const freshness = new Freshness(() => nowMs, notYet);
  const cutOffs = new CutOffs(() => [], { cutOffs: [], txns: [] }, freshness);
  expect([cutOffs.objectionTo(request), cutOffs.objectionTo({ ...request, standing: true })]).toEqual([
    'not_current',
    undefined,
  ]);
  freshness.prolong(200);
  freshness.prolong(150);
  expect(cutOffs.objectionTo(request)).toBeUndefined();
  nowMs = 200;
  expect(cutOffs.objectionTo(request)).toBe('not_current');
});

test('of too many transactions the newest are kept', () => {
  const txns = new RevokedTxns([]);
  for (let at = 0; at <= maxRevokedTxns + 1024; at += 1) txns.add(`t${at}`, at);
  expect([txns.has('t1024'), txns.has('t1025'), txns.list().length]).toEqual([false, true, maxRevokedTxns]);
});
