import { expect, test } from 'vitest';
import { interleave } from '../stage/interleaving.ts';

test('W11, W2, W4: of 200 interleaved tasks of 20 users over 5 tools none gets a token of another task, user or tool', async () => {
  const calls = 4000;
  const { wrong, lost, delivered, tokens, tasksEnded, answers } = await interleave(calls);
  expect(wrong).toEqual([]);
  expect(lost).toEqual([]);
  expect(delivered).toBeGreaterThan(calls * 0.95);
  expect(tasksEnded).toBeGreaterThan(50);
  // Tokens are short-lived: many calls came with a second one.
  expect(tokens).toBeGreaterThan(1000);
  expect(answers.get('mount-bearer handle_ended')).toBeGreaterThanOrEqual(tasksEnded);
  const outcomes = new Set([...answers.keys()].map((label) => label.split(' ')[1]));
  expect(
    [...outcomes].filter((outcome) => !['200', 'handle_ended', 'grant_dead', 'cut'].includes(outcome ?? '')),
  ).toEqual([]);
}, 120_000);
