import { expect, test } from 'vitest';
import { KillSwitch } from '../../proxy/steward/kill-switch.ts';
import { CutOffs } from '../../proxy/tasks/cut-offs.ts';
import { always, Freshness } from '../../proxy/tasks/freshness.ts';
import { maxRevokedTxns } from '../../proxy/tasks/revoked-txns.ts';
import { TaskBook, type TaskRequest } from '../../proxy/tasks/task-book.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { realWorld } from '../../proxy/world.ts';

const world = realWorld([]);
const subject = { iss: 'https://sso.example.org', sub: 'alice', kind: 'user' } as const;
const txnToken = { text: new Secret('x'), txn: 'order-4711', expiresAtMs: Infinity };

type Request = Pick<TaskRequest, 'txnToken' | 'parent'>;

/** @param requestOf what each of its tasks comes with, by the transaction of the one before. */
function openSidecar(count: number, requestOf: (before: string | undefined) => Request) {
  const cutOffs = new CutOffs(() => [], { cutOffs: [], txns: [] }, new Freshness(world.monotonic, always));
  const ending = {
    takeBack: () => ({ dropped: 0, revocations_queued: 0 }),
    recordOpened: () => undefined,
    recordEnded: () => undefined,
  };
  const peer = { uid: undefined, executable: undefined, bind: 'none' } as const;
  const book = new TaskBook(world, 2 * maxRevokedTxns, ending, cutOffs, peer);
  let before: string | undefined;
  for (let at = 0; at < count; at += 1) {
    const terms = { subject, grant: undefined, purpose: '', tools: new Set<string>(), handles: 'one' } as const;
    before = book.open({ ...terms, lifeMs: 60_000, by: 'test', ...requestOf(before) }).task.txn;
  }
  const killSwitch = new KillSwitch({
    book,
    cutOffs,
    custody: { dropTool: () => ({ dropped: 0 }) },
    tools: [],
    trail: { principalRevoked: () => undefined },
    world,
    keep: () => undefined,
    isShared: true,
  });
  return { cutOffs, book, killSwitch };
}

test('a transaction with more parts than are remembered stays revoked, as what was before it, at each sidecar', () => {
  // As many as it may have, and more than it remembers.
  const open = () => openSidecar(1.5 * maxRevokedTxns, () => ({ txnToken }));
  const [here, there] = [open(), open()];
  const opening = { subject, grant: undefined, txnToken };
  const earlier = { ...opening, txnToken: { ...txnToken, txn: 'order-0815' } };
  const revoke = (txn: string): unknown =>
    here.killSwitch.revoke({ what: { kind: 'task', txn }, reason: 'test' }, 'test');
  expect([revoke('order-0815'), revoke('order-4711')]).toEqual([
    { tasks: 0, credentials: 0 },
    { tasks: 1.5 * maxRevokedTxns, credentials: 0 },
  ]);
  there.killSwitch.take(here.cutOffs.txns.list().map(({ txn, atMs }) => ({ what: { kind: 'task', txn }, atMs })));
  for (const { cutOffs, book } of [here, there]) {
    expect(book.openCount).toBe(0);
    expect([opening, earlier].map((one) => cutOffs.objectionTo(one))).toEqual(['revoked', 'revoked']);
    expect(cutOffs.txns.list().length).toBeLessThanOrEqual(maxRevokedTxns + 1024);
  }
});

test('thousands of nested sub-tasks that another sidecar names one by one hold up nobody', { timeout: 60_000 }, () => {
  const { book, killSwitch } = openSidecar(6000, (parent) => ({ parent }));
  const revoked = book.list().map(({ txn }) => ({ what: { kind: 'task', txn } as const, atMs: world.now() }));
  const startedAt = performance.now();
  killSwitch.take(revoked);
  expect(book.openCount).toBe(0);
  // Each of them with all below it: 7 s, and 700 MB.
  expect(performance.now() - startedAt).toBeLessThan(1500);
});
