import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { WaitingLine } from '../../proxy/tasks/waiting-line.ts';

test('who left the line is not dealt with, whoever came and went before', async () => {
  let now = 0;
  const dealt: string[] = [];
  const line = new WaitingLine<string>(
    1,
    () => now,
    (name) => dealt.push(name),
  );
  for (const round of ['first', 'second', 'third']) {
    const numbers = ['a', 'b', 'c'].map((name) => line.add(`${round} ${name}`));
    line.leave(numbers[1] ?? -1);
    now += 10;
    await sleep(60);
    // Everybody of this round is gone: to leave now changes nothing for those who come.
    for (const number of numbers) line.leave(number);
    expect(dealt.splice(0)).toEqual([`${round} a`, `${round} c`]);
  }
});
