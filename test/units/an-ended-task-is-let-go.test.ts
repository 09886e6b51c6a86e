import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { CutOffs } from '../../proxy/tasks/cut-offs.ts';
import { always, Freshness } from '../../proxy/tasks/freshness.ts';
import type { OpenedTask } from '../../proxy/tasks/opened-task.ts';
import type { Cuttable, Task } from '../../proxy/tasks/task.ts';
import { TaskBook } from '../../proxy/tasks/task-book.ts';
import { realWorld } from '../../proxy/world.ts';

function openBook(): TaskBook {
  const world = realWorld([]);
  const ending = {
    takeBack: () => ({ dropped: 0, revocations_queued: 0 }),
    recordOpened: () => undefined,
    recordEnded: () => undefined,
  };
  const cutOffs = new CutOffs(() => [], { cutOffs: [], txns: [] }, new Freshness(world.monotonic, always));
  return new TaskBook(world, 1000, ending, cutOffs, { uid: undefined, executable: undefined, bind: 'none' });
}

function open(book: TaskBook): OpenedTask {
  return book.open({
    subject: { iss: 'https://sso.example.org', sub: 'alice', kind: 'user' },
    grant: undefined,
    purpose: '',
    tools: new Set(['crm']),
    handles: 'one',
    traced: true,
    lifeMs: 60_000,
    by: 'test',
  });
}

function callTo(tool: string, isAwaited: boolean, stopped: string[], name: string): Cuttable {
  return { isAwaited, isTo: (other) => other === tool, stop: () => stopped.push(name) };
}

test('nothing keeps what named a task when it has ended', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const book = openBook();
  const openAndEnd = (): WeakRef<OpenedTask> => {
    const opened = open(book);
    book.end(opened.task.txn, 'completed', 'answered', 'request');
    return new WeakRef(opened);
  };
  const ended = Array.from({ length: 20 }, openAndEnd);
  const kept = open(book);
  // What a turn has looked at lives until its end.
  await new Promise(setImmediate);
  gc();
  expect(ended.filter((opened) => opened.deref() !== undefined)).toEqual([]);
  expect(book.handles.find(kept.handle ?? '')).toMatchObject({ task: kept.task });
});

test('the end of a task cuts all its calls, the first and those behind it, in slots that are used again', () => {
  const stopped: string[] = [];
  const task = open(openBook()).task;
  const hold = (name: string, isAwaited = false): number => task.holdOpen(callTo('crm', isAwaited, stopped, name));
  const slots = [hold('a'), hold('b'), hold('c')];
  expect(new Set(slots).size).toBe(3);
  for (const slot of slots.slice(0, 2)) task.letGo(slot);
  expect(new Set([hold('d'), hold('e')])).toEqual(new Set(slots.slice(0, 2)));
  expect(hold('f')).not.toBe(slots[2]);
  task.letGo(99);
  task.cutCalls(['crm']);
  expect(stopped).toEqual([]);
  task.closeTool('crm');
  expect(stopped.toSorted()).toEqual(['c', 'd', 'e', 'f']);
});

test.each([
  ['the one that is awaited', true],
  ['none', false],
])('an end spares %s', (_, isAwaited) => {
  const stopped: string[] = [];
  const book = openBook();
  const task: Task = open(book).task;
  task.holdOpen(callTo('agent', isAwaited, stopped, 'request'));
  task.holdOpen(callTo('crm', false, stopped, 'call'));
  book.end(task.txn, 'completed', 'complete', 'agent', true);
  expect(stopped).toEqual(isAwaited ? ['call'] : ['request', 'call']);
});
