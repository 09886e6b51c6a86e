import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { ServerNonces } from '../../proxy/replay/nonces.ts';

const minute = 60_000;
const start = 28_333_333 * minute;
const key = randomBytes(32);

test('a nonce is good for the minute it was made in and for the next', () => {
  const nonces = new ServerNonces(key);
  const nonce = nonces.current(start);
  expect(nonces.current(start + minute - 1)).toBe(nonce);
  expect(nonces.current(start + minute)).not.toBe(nonce);
  const at = [0, minute - 1, minute, 2 * minute - 1, 2 * minute, 100 * minute];
  expect(at.map((ms) => nonces.judge(nonce, start + ms))).toEqual(['good', 'good', 'good', 'good', 'old', 'old']);
  expect(nonces.judge(undefined, start)).toBe('missing');
});

test('a nonce of another process is foreign, also one of the same minute', () => {
  const [before, after] = [new ServerNonces(randomBytes(32)), new ServerNonces(randomBytes(32))];
  expect(after.judge(before.current(start), start)).toBe('foreign');
  // Replicas with one key take each other's.
  expect(new ServerNonces(key).judge(new ServerNonces(key).current(start), start)).toBe('good');
});

test('a nonce can be sent in a header, and made-up ones are foreign', () => {
  const nonces = new ServerNonces(key);
  const nonce = nonces.current(start);
  expect(nonce).toMatch(/^[\x21\x23-\x5b\x5d-\x7e]{24,64}$/);
  const [slot = '', code = ''] = nonce.split('.');
  const flipped = code.startsWith('A') ? `B${code.slice(1)}` : `A${code.slice(1)}`;
  const madeUp = [
    '',
    'x',
    slot,
    code,
    `${slot}.`,
    `.${code}`,
    `${slot}.${flipped}`,
    `0${slot}.${code}`,
    `${slot.toUpperCase()}x.${code}`,
    `${nonce} `,
    `${nonce}\n`,
    `${nonce}.${nonce}`,
    nonce.replace('.', '\u012e'),
    `zzzzzzzzzzz.${code}`,
    'x'.repeat(100_000),
  ];
  expect(madeUp.map((one) => nonces.judge(one, start))).toEqual(madeUp.map(() => 'foreign'));
});

test('a nonce of the future is not good: the clock went back, and a new one is to be had', () => {
  const nonces = new ServerNonces(key);
  const ahead = nonces.current(start + 5 * minute);
  expect(nonces.judge(ahead, start)).toBe('old');
  expect(nonces.judge(nonces.current(start), start)).toBe('good');
});

test('a key that is too short is refused', () => {
  expect(() => new ServerNonces(randomBytes(16))).toThrow('32 bytes');
});
