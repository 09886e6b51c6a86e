import { array, assert, constantFrom, integer, property, tuple } from 'fast-check';
import { expect, test } from 'vitest';
import { Forgotten } from '../../proxy/replay/ledgers/forgotten.ts';

/** A ledger that forgets at once whatever has ended, so that nothing but `Forgotten` stands against a second claim. Times in seconds. */
class Forgetful {
  second = 1_764_000_000;
  readonly forgotten = new Forgotten();
  #live: readonly { readonly stored: number }[] = [];
  /** Ends of what was claimed and forgotten. */
  readonly over: { readonly end: number; readonly stored: number }[] = [];
  readonly #grain: number;

  constructor(grain: number) {
    this.#grain = grain;
    this.forgotten.pass(0, this.second, 0);
  }

  look(second: number): void {
    if (second <= this.second) {
      if (this.second - second > 60) this.second = second;
      return;
    }
    const ended = this.#live.filter(({ stored }) => stored <= second);
    this.#live = this.#live.filter(({ stored }) => stored > second);
    this.forgotten.pass(this.second, second, Math.max(this.second, ...ended.map(({ stored }) => stored)));
    for (const { stored } of ended) this.over.push({ stored, end: stored - this.#grain + 1 });
    this.second = second;
  }

  mayHold(end: number): boolean {
    return this.forgotten.mayHold(end, end + this.#grain - 1);
  }

  claim(end: number): void {
    const stored = Math.ceil(end / this.#grain) * this.#grain;
    if (stored > this.second && !this.mayHold(end)) this.#live = [...this.#live, { stored }];
  }
}

const steps = array(
  tuple(
    constantFrom(0, 1, 1, 7, 59, 60, 61, 300, 4000, 90_000, -1, -59, -61, -200, -3900, -80_000, -200_000),
    integer({ min: 1, max: 400 }),
  ),
  { minLength: 5, maxLength: 120 },
);

test('nothing that was claimed and forgotten is vouched for, however the clock is set', () => {
  assert(
    property(steps, constantFrom(1, 4, 64), (all, grain) => {
      const ledger = new Forgetful(grain);
      let second = ledger.second;
      for (const [step, life] of all) {
        second = Math.max(1, second + step);
        ledger.look(second);
        ledger.claim(second + life);
        ledger.claim(second + life * 50);
        for (const { end, stored } of ledger.over)
          for (let at = end; at <= stored; at += 1) expect([at, ledger.mayHold(at)]).toEqual([at, true]);
      }
    }),
    { numRuns: 300 },
  );
});

test('what ends between the time before and the time ahead is vouched for', () => {
  const ledger = new Forgetful(1);
  const start = ledger.second;
  for (let at = 0; at < 100; at += 1) {
    ledger.look(start + at);
    ledger.claim(start + at + 60);
  }
  ledger.look(start + 86_400);
  for (const [end, may] of [
    [start + 159, true],
    [start + 160, false],
    [start + 86_400, false],
    [start + 86_401, false],
  ] as const)
    expect([end, ledger.mayHold(end)]).toEqual([end, may]);
  // As long as the clock goes on, all up to now is over.
  for (let at = 1; at < 100; at += 1) ledger.look(start + 86_400 + at);
  expect([ledger.mayHold(start + 86_400), ledger.mayHold(start + 86_401)]).toEqual([false, true]);
});
