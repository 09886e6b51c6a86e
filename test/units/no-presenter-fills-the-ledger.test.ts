import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { Claims } from '../../proxy/replay/claim.ts';
import { MemoryLedger } from '../../proxy/replay/ledgers/memory.ts';
import { PresenterShares } from '../../proxy/replay/presenter-shares.ts';

const world = { random: (bytes: number) => randomBytes(bytes) };
const lifeMs = 64_000;

class Presenters {
  readonly #claims: Claims;
  #count = 0;

  constructor(capacity: number, perPresenter: number) {
    this.#claims = new Claims(
      new MemoryLedger(world, capacity),
      new PresenterShares(world, { perPresenter, horizonMs: lifeMs }),
    );
  }

  present(presenter: string, nowMs: number, id = `${this.#count++}`, expiresAtMs = nowMs + lifeMs): string {
    const thing = { kind: 'dpop', owner: presenter, id, expiresAtMs } as const;
    return this.#claims.claim([{ thing, presenter }], nowMs).said;
  }

  /** Several things of one call. */
  presentAll(presenter: string, nowMs: number, ids: readonly string[]): string {
    const things = ids.map((id) => ({
      thing: { kind: 'dpop', owner: presenter, id, expiresAtMs: nowMs + lifeMs } as const,
      presenter,
    }));
    return this.#claims.claim(things, nowMs).said;
  }

  has(presenter: string, id: string, nowMs: number): boolean {
    return this.#claims.has({ kind: 'dpop', owner: presenter, id }, nowMs);
  }

  entriesAt(nowMs: number): number {
    return this.#claims.entriesAt(nowMs);
  }
}

test('a presenter gets its share and no more, and the others are served', () => {
  const presenters = new Presenters(10_000, 1000);
  const flood = Array.from({ length: 50_000 }, () => presenters.present('flood', 0));
  expect(flood.filter((said) => said === 'claimed')).toHaveLength(1000);
  expect(new Set(flood.slice(1000))).toEqual(new Set(['presenter_full']));
  const honest = Array.from({ length: 2000 }, (_, index) => presenters.present(`honest ${index}`, 1));
  expect(new Set(honest)).toEqual(new Set(['claimed']));
  expect(presenters.entriesAt(1)).toBe(3000);
});

test('whoever shares one cell with a flood is served: only one in four million shares both', () => {
  const shares = new PresenterShares(world, { perPresenter: 1000, horizonMs: lifeMs });
  const flood = shares.shareOf('flood');
  while (!shares.isUsedUp(flood, 0)) shares.add(flood, lifeMs);
  const refused = Array.from({ length: 20_000 }, (_, index) => shares.isUsedUp(shares.shareOf(`honest ${index}`), 0));
  expect(refused.filter(Boolean).length).toBeLessThan(3);
});

test('a presenter without a share left still learns that its proof was spent', () => {
  const presenters = new Presenters(100, 2);
  expect([presenters.present('a', 0, 'one'), presenters.present('a', 0, 'two')]).toEqual(['claimed', 'claimed']);
  expect([presenters.present('a', 1, 'one'), presenters.present('a', 1, 'three')]).toEqual(['spent', 'presenter_full']);
  expect([presenters.has('a', 'one', 1), presenters.has('a', 'three', 1)]).toEqual([true, false]);
  // Only what was claimed counts: neither replays nor refusals use up a share.
  expect(Array.from({ length: 9 }, () => presenters.present('b', 0, 'one'))).toContain('spent');
  expect(presenters.present('b', 1, 'two')).toBe('claimed');
});

test('of several things all are spent or none, whatever is in the way', () => {
  const presenters = new Presenters(6, 4);
  expect(presenters.presentAll('a', 0, ['1', '2', '3'])).toBe('claimed');
  expect(presenters.presentAll('a', 0, ['4', '5'])).toBe('presenter_full');
  expect(presenters.presentAll('a', 0, ['4', '3'])).toBe('spent');
  expect(presenters.presentAll('a', 0, ['4', '5', '3'])).toBe('spent');
  expect(presenters.presentAll('b', 0, ['1', '2', '3', '4'])).toBe('full');
  expect([presenters.has('a', '4', 0), presenters.has('b', '1', 0), presenters.entriesAt(0)]).toEqual([
    false,
    false,
    3,
  ]);
  expect([presenters.presentAll('a', 0, ['4']), presenters.presentAll('b', 0, ['1', '2'])]).toEqual([
    'claimed',
    'claimed',
  ]);
});

test('a share comes back as its entries end, an eighth of their life later at most', () => {
  const presenters = new Presenters(10_000, 100);
  for (let nowMs = 0; nowMs < 10 * lifeMs; nowMs += 1000) {
    // 64 in the life of one: always within the share, even with those that count too long.
    expect([nowMs, presenters.present('steady', nowMs)]).toEqual([nowMs, 'claimed']);
  }
  for (let id = 0; id < 100; id++) expect(presenters.present('burst', 10 * lifeMs)).toBe('claimed');
  const end = 11 * lifeMs;
  expect([presenters.present('burst', end - 1), presenters.present('burst', end + lifeMs / 8)]).toEqual([
    'presenter_full',
    'claimed',
  ]);
});

test('a clock that goes back or far forward neither gives nor takes a share', () => {
  const presenters = new Presenters(10_000, 10);
  for (let id = 0; id < 10; id++) expect(presenters.present('a', 1_000_000)).toBe('claimed');
  expect(presenters.present('a', 950_000)).toBe('presenter_full');
  expect(presenters.present('a', 1_000_000)).toBe('presenter_full');
  expect(presenters.present('a', 1e12)).toBe('claimed');
  for (let id = 0; id < 9; id++) expect(presenters.present('a', 1e12)).toBe('claimed');
  expect(presenters.present('a', 1e12)).toBe('presenter_full');
});

test('a clock that was ahead for a day takes no share away until then', () => {
  const presenters = new Presenters(10_000, 10);
  const day = 86_400_000;
  for (const nowMs of [1_000_000, day]) expect(presenters.present('a', nowMs)).toBe('claimed');
  for (let round = 1; round < 20; round++) {
    const nowMs = 1_000_000 + round * 3 * lifeMs;
    for (let id = 0; id < 10; id++) expect(presenters.present('a', nowMs)).toBe('claimed');
    expect(presenters.present('a', nowMs)).toBe('presenter_full');
  }
});

test('what lives longer than the horizon counts for the horizon, and what is over already counts a moment', () => {
  const presenters = new Presenters(10_000, 2);
  for (const id of ['1', '2']) expect(presenters.present('a', 0, id, 100 * lifeMs)).toBe('claimed');
  expect(presenters.present('a', lifeMs - 1, '3')).toBe('presenter_full');
  expect(presenters.present('a', 2 * lifeMs, '4')).toBe('claimed');
  // They are remembered all the same.
  expect(presenters.present('a', 50 * lifeMs, '1')).toBe('spent');
});

test('100,000 presenters with few entries each are all served, in the same small memory', () => {
  const before = process.memoryUsage().arrayBuffers;
  const shares = new PresenterShares(world, { perPresenter: 4000, horizonMs: lifeMs });
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(200_000);
  let refused = 0;
  for (let count = 0; count < 200_000; count++) {
    const share = shares.shareOf(`presenter ${count % 100_000}`);
    if (shares.isUsedUp(share, count / 10)) refused++;
    else shares.add(share, count / 10 + lifeMs);
  }
  expect(refused).toBe(0);
});

test('the ledger of a sidecar that nobody calls any more is empty', () => {
  const presenters = new Presenters(10_000, 1000);
  for (let id = 0; id < 500; id++) presenters.present('a', 0);
  expect([presenters.entriesAt(0), presenters.entriesAt(lifeMs + 1000)]).toEqual([500, 0]);
});
