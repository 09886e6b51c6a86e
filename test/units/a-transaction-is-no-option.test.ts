import { expect, test } from 'vitest';
import { CutOffs } from '../../proxy/tasks/cut-offs.ts';
import { always, Freshness } from '../../proxy/tasks/freshness.ts';
import { TaskBook } from '../../proxy/tasks/task-book.ts';
import { realWorld } from '../../proxy/world.ts';

test('the name of a task is a plain word whatever the dice say, so that commands take it as it stands', () => {
  // 0xf8 begins with "-" in base64url.
  const world = { ...realWorld([]), random: (bytes: number) => Buffer.alloc(bytes, 0xf8) };
  const ending = {
    takeBack: () => ({ dropped: 0, revocations_queued: 0 }),
    recordOpened: () => undefined,
    recordEnded: () => undefined,
  };
  const book = new TaskBook(
    world,
    1,
    ending,
    new CutOffs(() => [], { cutOffs: [], txns: [] }, new Freshness(world.monotonic, always)),
    { uid: undefined, executable: undefined, bind: 'none' },
  );
  const subject = { iss: 'https://sso.example.org', sub: 'alice', kind: 'user' } as const;
  const opened = book.open({
    subject,
    grant: undefined,
    purpose: '',
    tools: new Set(),
    handles: 'one',
    lifeMs: 1000,
    by: 'test',
  });
  expect(opened.task.txn).toMatch(/^[0-9a-f]{32}$/);
});
