import { expect, test } from 'vitest';
import { interleave } from '../stage/interleaving.ts';

test('W11: 20,000 calls of 200 interleaved tasks of 20 users over 5 tools: no token of another task, user or tool', async () => {
  const calls = 20_000;
  const { wrong, lost, delivered, tokens, tasksEnded, answers } = await interleave(calls);
  console.log(`${delivered} delivered with ${tokens} tokens, ${tasksEnded} tasks ended`, Object.fromEntries(answers));
  expect(wrong).toEqual([]);
  expect(lost).toEqual([]);
  expect(delivered).toBeGreaterThan(calls * 0.95);
  expect(tasksEnded).toBeGreaterThan(300);
}, 300_000);
