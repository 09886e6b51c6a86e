import { randomBytes } from 'node:crypto';
import { assert, commands, constantFrom, integer, modelRun, property, tuple, type Command } from 'fast-check';
import { expect, test } from 'vitest';
import { MemoryLedger } from '../../proxy/replay/ledgers/memory.ts';

const world = { random: (bytes: number) => randomBytes(bytes) };

/** What a ledger has to do, in the plainest words: a Map, and the latest time that was seen. */
interface Model {
  readonly capacity: number;
  readonly ends: Map<string, number>;
  latestMs: number;
}

const toSecond = (ms: number): number => Math.floor(ms / 1000);

/** Live entries: an entry ends with the second of its expiry. */
function liveOf(model: Model): number {
  return [...model.ends.values()].filter((end) => toSecond(end) >= toSecond(model.latestMs)).length;
}

class ClaimOne implements Command<Model, MemoryLedger> {
  readonly input: string;
  readonly lifeMs: number;
  readonly stepMs: number;

  constructor(input: string, lifeMs: number, stepMs: number) {
    this.input = input;
    this.lifeMs = lifeMs;
    this.stepMs = stepMs;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, ledger: MemoryLedger): void {
    const nowMs = Math.max(0, model.latestMs + this.stepMs);
    model.latestMs = Math.max(model.latestMs, nowMs);
    const end = model.ends.get(this.input);
    const isSpent = end !== undefined && toSecond(end) >= toSecond(nowMs);
    expect(ledger.has(this.input, nowMs)).toBe(isSpent);
    const expiresAtMs = nowMs + this.lifeMs;
    const said = ledger.claim(this.input, expiresAtMs, nowMs);
    if (isSpent) expect(said).toBe('spent');
    else if (toSecond(expiresAtMs) < toSecond(model.latestMs) || liveOf(model) >= model.capacity)
      expect(said).toBe('full');
    else {
      expect(said).toBe('claimed');
      model.ends.set(this.input, expiresAtMs);
    }
    expect(ledger.entries).toBe(liveOf(model));
  }

  toString(): string {
    return `claim(${this.input}, life ${this.lifeMs}, step ${this.stepMs})`;
  }
}

test('a ledger answers as a Map would, whatever comes, expires, fills it or turns the clock forward', () => {
  const one = tuple(
    integer({ min: 0, max: 30 }).map((id) => `id ${id}`),
    integer({ min: 0, max: 20_000 }),
    constantFrom(0, 0, 1, 300, 1000, 4999, 61_000),
  ).map(([input, lifeMs, stepMs]) => new ClaimOne(input, lifeMs, stepMs));
  assert(
    property(commands([one], { maxCommands: 200, size: 'max' }), integer({ min: 1, max: 12 }), (list, capacity) => {
      modelRun(
        () => ({ model: { capacity, ends: new Map(), latestMs: 0 }, real: new MemoryLedger(world, capacity) }),
        list,
      );
    }),
    { numRuns: 150 },
  );
});

test('it does so too while it grows, is cleaned, shrinks and is emptied', () => {
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const ledger = new MemoryLedger(world, 1_000_000);
  const ends = new Map<string, number>();
  const wrong: string[] = [];
  let nowMs = 0;
  // Claims a second, for so many seconds: a rush, a lull, a rush in which half has expired, hardly any, and rushes with none between.
  const phases = [
    [1500, 20],
    [10, 60],
    [1000, 30],
    [1, 200],
    [0, 60],
    [1000, 10],
    [0, 60],
    [1000, 10],
  ] as const;
  for (const [perSecond, seconds] of phases) {
    for (let second = 0; second < seconds; second++, nowMs += 1000) {
      for (let count = 0; count < perSecond; count++) {
        const input = `id ${random(100_000)}`;
        const expected = (ends.get(input) ?? -1) >= nowMs ? 'spent' : 'claimed';
        const expiresAtMs = nowMs + random(30) * 1000;
        if (ledger.claim(input, expiresAtMs, nowMs) !== expected) wrong.push(`${input} at ${nowMs}`);
        if (expected === 'claimed') ends.set(input, expiresAtMs);
      }
    }
    for (const [input, end] of ends)
      if (ledger.has(input, nowMs) !== end >= nowMs) wrong.push(`${input} after ${nowMs}`);
    expect(ledger.entries).toBe([...ends.values()].filter((end) => end >= nowMs).length);
  }
  expect(wrong).toEqual([]);
});
