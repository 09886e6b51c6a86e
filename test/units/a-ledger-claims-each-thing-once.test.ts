import { randomBytes } from 'node:crypto';
import { array, assert, constantFrom, integer, property, tuple } from 'fast-check';
import { expect, test } from 'vitest';
import { claimKey } from '../../proxy/replay/claim.ts';
import { MemoryLedger } from '../../proxy/replay/ledgers/memory.ts';

const world = { random: (bytes: number) => randomBytes(bytes) };
const minute = 60_000;

test('a thing that ends at a fixed time is claimed once at most, wherever the clock jumps', () => {
  const jump = tuple(
    integer({ min: 0, max: 39 }),
    constantFrom(0, 0, 0, 700, 700, 5000, 30_000, -900, -20_000, -90_000, 2_000_000),
  );
  assert(
    property(array(jump, { minLength: 20, maxLength: 400 }), (jumps) => {
      const ledger = new MemoryLedger(world, 15);
      const claimed = new Set<number>();
      let [nowMs, latestMs] = [100_000, 100_000];
      for (const [id, stepMs] of jumps) {
        nowMs = Math.max(0, nowMs + stepMs);
        latestMs = Math.max(latestMs, nowMs);
        const endsMs = 100_000 + id * 3500;
        const said = ledger.claim(`${id}`, endsMs, nowMs);
        if (claimed.has(id)) expect(said).not.toBe('claimed');
        if (claimed.has(id) && endsMs >= latestMs) expect(said).toBe('spent');
        if (!claimed.has(id)) expect(said).not.toBe('spent');
        if (said === 'claimed') claimed.add(id);
      }
    }),
  );
});

test('a thousand racing pairs: one of each wins', async () => {
  const ledger = new MemoryLedger(world, 10_000);
  const pairs = Array.from({ length: 1000 }, (_, index) => {
    const racer = async (turns: number): Promise<string> => {
      for (let turn = 0; turn < turns; turn++) await new Promise((done) => setImmediate(done));
      return ledger.claim(claimKey('dpop', 'jkt', `proof ${index}`), minute, 0);
    };
    return [racer(index % 3), racer((index * 7) % 3)];
  });
  const answers = await Promise.all(pairs.map((pair) => Promise.all(pair)));
  expect(answers.map((pair) => pair.toSorted())).toEqual(answers.map(() => ['claimed', 'spent']));
});

test('a full ledger refuses, forgets nobody, and tells a replay as a replay', () => {
  const ledger = new MemoryLedger(world, 3000);
  for (let id = 0; id < 3000; id++) expect(ledger.claim(`${id}`, minute, 0)).toBe('claimed');
  for (let id = 3000; id < 9000; id++) expect(ledger.claim(`${id}`, minute, 30_000)).toBe('full');
  expect(ledger.entries).toBe(3000);
  for (let id = 0; id < 3000; id++) expect(ledger.claim(`${id}`, minute, 59_000)).toBe('spent');
  expect(ledger.claim('3000', 3 * minute, minute + 1000)).toBe('claimed');
  expect(ledger.entries).toBe(1);
});

test('an entry lives to the last millisecond of its validity', () => {
  const ledger = new MemoryLedger(world, 10);
  expect(ledger.claim('a', 61_234, 1000)).toBe('claimed');
  expect([ledger.claim('a', 99_000, 61_234), ledger.has('a', 61_234)]).toEqual(['spent', true]);
  expect([ledger.has('a', 62_000), ledger.claim('a', 99_000, 62_000)]).toEqual([false, 'claimed']);
});

test('an entry ends in the days of real clocks too, however long nobody calls', () => {
  const start = 1_764_000_000_000;
  const ledger = new MemoryLedger(world, 1);
  for (const nowMs of [start, start + 100 * minute, start + 101.5 * minute, start + 1e9]) {
    expect([1, 2].map(() => ledger.claim('a', nowMs + minute, nowMs))).toEqual(['claimed', 'spent']);
    expect(ledger.claim('b', nowMs + minute, nowMs)).toBe('full');
  }
});

test('a clock that goes back does not bring a spent proof back to life', () => {
  const ledger = new MemoryLedger(world, 100_000);
  expect(ledger.claim('proof', 60_000, 0)).toBe('claimed');
  // Behind its end and back: as long as it is not written over, it is known.
  ledger.advance(62_000);
  expect(ledger.claim('proof', 60_000, 30_000)).toBe('spent');
  // The clock goes on, and others take its place.
  for (let id = 0; id < 10_000; id++) ledger.claim(`other ${id}`, 3 * minute, 61_000 + id);
  expect(ledger.claim('proof', 60_000, 30_000)).not.toBe('claimed');
  // Nobody can know any more whether this one was here, so nobody vouches for it; and it is not called a replay.
  expect(ledger.claim('never seen', 60_000, 30_000)).toBe('full');
  // What ends after the latest time that was seen is remembered, so it can be claimed, once.
  expect([1, 2].map(() => ledger.claim('made now', 10 * minute, 30_000))).toEqual(['claimed', 'spent']);
});

/** The clock of a machine that was a day ahead for some seconds, told to a ledger that is in use all the time. */
function claimWhileAhead(ledger: MemoryLedger, startMs: number, seconds: number): void {
  for (let second = 0; second < seconds; second++) {
    const nowMs = startMs + second * 1000;
    expect(ledger.claim(`at ${nowMs}`, nowMs + minute, nowMs)).toBe('claimed');
  }
}

test('after a clock that was ahead claims go on, and nothing that was spent meanwhile is good again', () => {
  const day = 24 * 60 * minute;
  const start = 1_764_000_000_000;
  const ledger = new MemoryLedger(world, 100_000);
  claimWhileAhead(ledger, start, 200);
  claimWhileAhead(ledger, start + day, 300);
  // Back: what could be a thing of before is not vouched for, as long as such a thing can live.
  const back = start + 210_000;
  expect(ledger.claim('at once', back + 30_000, back)).toBe('full');
  const nowMs = back + 2 * minute;
  expect([1, 2].map(() => ledger.claim('later', nowMs + minute, nowMs))).toEqual(['claimed', 'spent']);
  claimWhileAhead(ledger, nowMs + 1000, 600);
  // And when its day comes, what was spent then is spent, or vouched for by nobody.
  const said = Array.from({ length: 300 }, (_, second) => {
    const madeMs = start + day + second * 1000;
    return ledger.claim(`at ${madeMs}`, madeMs + minute, madeMs);
  });
  expect(said).not.toContain('claimed');
  const after = start + day + 10 * minute;
  expect([1, 2].map(() => ledger.claim('after all', after + minute, after))).toEqual(['claimed', 'spent']);
  expect(ledger.entries).toBe(1);
});

test('a thing with a long life is claimed once at most, wherever the clock jumps by hours', () => {
  const jump = tuple(
    integer({ min: 0, max: 59 }),
    constantFrom(0, 0, 700, 5000, 45_000, -5000, -45_000, 3_700_000, -3_600_000, 40_000_000, -39_000_000),
  );
  assert(
    property(array(jump, { minLength: 20, maxLength: 400 }), (jumps) => {
      const ledger = new MemoryLedger(world, 40);
      const start = 1_764_000_000_000;
      const claimed = new Set<number>();
      let nowMs = start;
      for (const [id, stepMs] of jumps) {
        nowMs = Math.max(start - 1e9, nowMs + stepMs);
        // Some end within minutes, others after a day.
        const endsMs = start + id ** 3 * 500;
        const said = ledger.claim(`${id}`, endsMs, nowMs);
        if (claimed.has(id)) expect(said).not.toBe('claimed');
        else expect(said).not.toBe('spent');
        if (said === 'claimed') claimed.add(id);
      }
    }),
    { numRuns: 1000 },
  );
});

test('long lives are remembered to their end, and a little longer', () => {
  const day = 24 * 60 * minute;
  const ledger = new MemoryLedger(world, 10_000);
  for (let id = 0; id < 10_000; id++) expect(ledger.claim(`${id}`, (id + 1) * 30_000, 0)).toBe('claimed');
  for (const nowMs of [minute, 2 * minute, 3 * minute]) {
    for (let id = 0; id < 10_000; id += 7) {
      if ((id + 1) * 30_000 >= nowMs) expect(ledger.has(`${id}`, nowMs)).toBe(true);
    }
    const ended = nowMs / 30_000;
    expect(ledger.entries).toBeGreaterThanOrEqual(10_000 - ended);
    expect(ledger.entries).toBeLessThanOrEqual(10_000 - ended * (1 - 1 / 128) + 1);
  }
  // Whole seconds at first; later ends are counted together.
  ledger.claim('in nine days', 777_777_000, 3 * minute);
  expect([ledger.has('in nine days', 778_000_000), ledger.has('in nine days', 781_000_000)]).toEqual([true, false]);
  ledger.advance(20 * day);
  expect(ledger.entries).toBe(0);
  expect(ledger.claim('to the end of time', 1e15, 20 * day)).toBe('claimed');
  expect(ledger.has('to the end of time', 2e12)).toBe(true);
});

test('class, owner and id cannot be mixed up', () => {
  const keys = [
    claimKey('dpop', 'a', 'b'),
    claimKey('token', 'a', 'b'),
    claimKey('dpop', 'b', 'a'),
    claimKey('dpop', 'a ', 'b'),
    claimKey('dpop', 'a', ' b'),
    claimKey('dpop', 'a b', ''),
    claimKey('dpop', '', 'a b'),
    claimKey('dpop', '1 a', 'b'),
  ];
  const ledger = new MemoryLedger(world, 100);
  expect(keys.map((key) => ledger.claim(key, minute, 0))).toEqual(keys.map(() => 'claimed'));
});

test('a claim without a time is a fault, and lets nothing through', () => {
  const ledger = new MemoryLedger(world, 10);
  ledger.claim('a', minute, 0);
  for (const [expiresAtMs, nowMs] of [
    [NaN, 0],
    [minute, NaN],
    [Infinity, 0],
    [minute, Infinity],
  ] as const) {
    expect(() => ledger.claim('a', expiresAtMs, nowMs)).toThrow('times');
  }
  expect(ledger.claim('a', minute, 1)).toBe('spent');
});

test('a fresh ledger is small, and 150,000 entries take at most 48 bytes each', () => {
  const before = process.memoryUsage().arrayBuffers;
  const ledger = new MemoryLedger(world, 1_000_000);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000);
  const sizes: number[] = [];
  for (let id = 1; id <= 150_000; id++) {
    ledger.claim(`${id}`, minute, 0);
    if (id >= 50_000 && id % 10_000 === 0) sizes.push((process.memoryUsage().arrayBuffers - before) / id);
  }
  expect(Math.max(...sizes)).toBeLessThan(48);
  expect(ledger.entries).toBe(150_000);
});
