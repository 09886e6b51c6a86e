import { array, assert, constantFrom, nat, property } from 'fast-check';
import { expect, test } from 'vitest';
import { AnswerLimit } from '../../proxy/steward/answer-limit.ts';

const size = { bytes: 1000, items: 8 };
const good = [
  '+OK\r\n',
  '-ERR no *9\r\n',
  ':-12\r\n',
  '$-1\r\n',
  '$0\r\n\r\n',
  '*-1\r\n',
  '$14\r\n*999999999\r\n$9\r\n',
  '*1\r\n*0\r\n',
];

/** Whether an answer passes that comes in pieces of these lengths. */
function passes(answer: string, lengths: readonly number[] = []): boolean {
  const limit = new AnswerLimit(size);
  const bytes = Buffer.from(answer, 'latin1');
  try {
    let at = 0;
    for (const length of [...lengths, bytes.length]) {
      limit.check(bytes.subarray(at, at + length));
      at += length;
    }
    return true;
  } catch {
    return false;
  }
}

test('what a server says passes, in whatever pieces it comes; what a text holds is no list', () => {
  assert(
    property(array(constantFrom(...good), { maxLength: 8 }), array(nat(7), { maxLength: 60 }), (answers, lengths) => {
      expect(passes(answers.join(''), lengths)).toBe(true);
    }),
  );
});

test('what is longer than was asked for, and what is no answer, does not', () => {
  const bad = [
    '*9\r\n',
    '*4\r\n*5\r\n',
    '*0000000000009\r\n',
    `+${'x'.repeat(1000)}`,
    ':1\rX*9\r\n',
    '$1\r\naX\n*9\r\n',
    '*:\r\n',
    '%1\r\n',
  ];
  assert(
    property(constantFrom(...bad), array(nat(7), { maxLength: 20 }), (answer, lengths) => {
      expect([answer, passes(answer, lengths)]).toEqual([answer, false]);
    }),
  );
});

test('each question is counted for itself', () => {
  const limit = new AnswerLimit(size);
  for (let at = 0; at < 20; at += 1) {
    limit.check(Buffer.from('*8\r\n'));
    limit.expect(size);
  }
  expect(() => limit.check(Buffer.from('*9\r\n'))).toThrow('longer than was asked for');
});
