import { expect, test } from 'vitest';
import { KillSwitch } from '../../proxy/steward/kill-switch.ts';
import { CutOffs } from '../../proxy/tasks/cut-offs.ts';
import { always, Freshness } from '../../proxy/tasks/freshness.ts';
import { maxRevokedTxns } from '../../proxy/tasks/revoked-txns.ts';
import { TaskBook } from '../../proxy/tasks/task-book.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { realWorld } from '../../proxy/world.ts';

const world = realWorld([]);
const subject = { iss: 'https://sso.example.org', sub: 'alice', kind: 'user' } as const;
const txnToken = { text: new Secret('x'), txn: 'order-4711', expiresAtMs: Infinity };

/** A sidecar with as many parts of the same transaction as it may have, and more than it remembers. */
function openSidecar(): { readonly cutOffs: CutOffs; readonly book: TaskBook; readonly killSwitch: KillSwitch } {
  const cutOffs = new CutOffs(() => [], { cutOffs: [], txns: [] }, new Freshness(world.monotonic, always));
  const ending = {
    takeBack: () => ({ dropped: 0, revocations_queued: 0 }),
    recordOpened: () => undefined,
    recordEnded: () => undefined,
  };
  const peer = { uid: undefined, executable: undefined, bind: 'none' } as const;
  const book = new TaskBook(world, 2 * maxRevokedTxns, ending, cutOffs, peer);
  for (let at = 0; at < 1.5 * maxRevokedTxns; at += 1) {
    const tools: ReadonlySet<string> = new Set();
    book.open({ subject, grant: undefined, purpose: '', tools, handles: 'one', lifeMs: 60_000, by: 'test', txnToken });
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
  const [here, there] = [openSidecar(), openSidecar()];
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
