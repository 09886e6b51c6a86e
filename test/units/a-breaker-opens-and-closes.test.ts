import { beforeEach, expect, test } from 'vitest';
import { Breaker, type Health } from '../../proxy/exchange/breaker.ts';
import { realWorld } from '../../proxy/world.ts';

let nowMs = 0;
let byte = 0x80;
let breaker: Breaker;

beforeEach(() => {
  nowMs = 1000;
  byte = 0x80;
  breaker = new Breaker({ ...realWorld([]), monotonic: () => nowMs, random: (bytes) => Buffer.alloc(bytes, byte) });
});

/** Visits one after the other, each of which passes. */
function visit(...healths: readonly Health[]): void {
  for (const health of healths) {
    const passage = breaker.pass();
    if (passage === undefined) throw new Error('it did not pass');
    breaker.tell(passage, health);
  }
}

const failures = (count: number): Health[] => Array.from({ length: count }, () => 'unwell');

test('five failures in a row open it, and four, or five with an answer between, do not', () => {
  visit(...failures(4), 'well', ...failures(4));
  expect(breaker.isOpen).toBe(false);
  // What says nothing of the service does not interrupt the row.
  visit('nothing', 'unwell');
  expect([breaker.isOpen, breaker.pass()]).toEqual([true, undefined]);
});

test('more failures than answers among twenty open it too', () => {
  for (let at = 0; at < 10; at++) visit('unwell', 'well');
  expect(breaker.isOpen).toBe(false);
  visit('unwell', 'unwell');
  expect(breaker.isOpen).toBe(true);
});

test('after the pause one probe passes and no other, until it is known how that went', () => {
  visit(...failures(5));
  nowMs += breaker.leftMs() - 1;
  expect(breaker.pass()).toBeUndefined();
  nowMs += 1;
  const probe = breaker.pass();
  expect([probe, breaker.pass()]).toEqual([{ isProbe: true }, undefined]);
  breaker.tell(probe!, 'well');
  expect([breaker.isOpen, breaker.pass()]).toEqual([false, { isProbe: false }]);
});

test('a probe that was not asked for frees its place for the next', () => {
  visit(...failures(5));
  nowMs += breaker.leftMs();
  visit('nothing');
  expect([breaker.isOpen, breaker.pass()]).toEqual([true, { isProbe: true }]);
});

test('the pauses double up to a bound, and begin anew when it was well', () => {
  visit(...failures(5));
  const pauses = [breaker.leftMs()];
  for (let at = 0; at < 6; at++) {
    nowMs += breaker.leftMs();
    visit('unwell');
    pauses.push(breaker.leftMs());
  }
  const [first = 0] = pauses;
  expect(first).toBeGreaterThan(990);
  expect(first).toBeLessThan(1010);
  expect(pauses.map((pause) => Math.round(pause / first))).toEqual([1, 2, 4, 8, 8, 8, 8]);
  nowMs += breaker.leftMs();
  visit('well', ...failures(5));
  expect(breaker.leftMs()).toBeCloseTo(first);
});

test('the pauses are spread by a quarter to each side', () => {
  const pauses = [0, 0xff].map((one) => {
    byte = one;
    breaker = new Breaker({ ...realWorld([]), monotonic: () => nowMs, random: (bytes) => Buffer.alloc(bytes, one) });
    visit(...failures(5));
    return Math.round(breaker.leftMs());
  });
  expect(pauses).toEqual([750, 1250]);
});

test('what began before it opened changes nothing any more', () => {
  const early = [breaker.pass()!, breaker.pass()!];
  visit(...failures(5));
  breaker.tell(early[0]!, 'unwell');
  const left = breaker.leftMs();
  breaker.tell(early[1]!, 'well');
  expect([breaker.isOpen, breaker.leftMs()]).toEqual([true, left]);
});
