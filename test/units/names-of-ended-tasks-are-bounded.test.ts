import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { TraceMarks } from '../../proxy/tasks/trace-mark.ts';
import type { Task } from '../../proxy/tasks/task.ts';

test('the mark of an ended task is known for a while, and the oldest is forgotten', () => {
  const marks = new TraceMarks((bytes) => randomBytes(bytes));
  const task = {} as Task;
  const first = marks.mint(task);
  expect(marks.find(first)).toBe(task);
  marks.retire(first);
  expect(marks.find(first)).toBe(task);
  for (let count = 0; count < 20_000; count += 1) marks.retire(marks.mint(task));
  expect(marks.find(first)).toBe('unknown');
  expect(marks.find(`wbt_AAAAAAAA${first.slice(12)}`)).toBe('previous_process');
  expect(marks.find('a=1')).toBeUndefined();
});
