import { expect, test } from 'vitest';
import { timestampOf } from '../../proxy/record/event.ts';

test('a time is written as its date is, whatever was written before', () => {
  const timestamp = timestampOf();
  const now = Date.now();
  const nearby = Array.from({ length: 3000 }, (_, step) => now + step * 7 - (step % 5) * 1000);
  const odd = [0, -1, -1000, 999, 1000, 59_999, now + 0.7, 253_402_300_799_999, 253_402_300_800_000, 8.64e15];
  for (const ms of [...nearby, ...odd, ...odd.toReversed()]) expect(timestamp(ms)).toBe(new Date(ms).toISOString());
  expect(() => timestamp(8.64e15 + 1000)).toThrow(RangeError);
});
