import { array, assert, constant, constantFrom, nat, oneof, property, record, string, tuple } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CutOffs, type Opening } from '../../proxy/tasks/cut-offs.ts';
import { always, Freshness } from '../../proxy/tasks/freshness.ts';
import { tokenOf, type Principal } from '../../proxy/tasks/principals.ts';
import { memberOf, readCutOff, readTxn, type StoreEntry } from '../../proxy/steward/fleet-entry.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { FleetMerge } from '../../proxy/steward/fleet-merge.ts';
import type { StoreContent } from '../../proxy/steward/fleet-store.ts';

const nowMs = 1_800_000_000_000;
const user = (sub: string): Principal => ({ kind: 'subject', iss: 'https://sso.example.org', sub });

/** As the store keeps them: the later time stays. */
class Store {
  readonly cutOffs = new Map<string, number>();
  readonly txns = new Map<string, number>();

  content(): StoreContent {
    return { mark: '', cutOffs: newest(this.cutOffs, 4097), txns: newest(this.txns, 16_385) };
  }

  add(into: Map<string, number>, entries: readonly StoreEntry[]): void {
    for (const { member, score } of entries) into.set(member, Math.max(score, into.get(member) ?? 0));
  }
}

function newest(entries: ReadonlyMap<string, number>, max: number): StoreEntry[] {
  return [...entries]
    .map(([member, score]) => ({ member, score }))
    .toSorted((a, b) => b.score - a.score)
    .slice(0, max);
}

/** A sidecar that compares itself with the store. */
class Sidecar {
  readonly cutOffs = new CutOffs(() => [], { cutOffs: [], txns: [] }, new Freshness(() => 0, always));
  readonly merge = new FleetMerge(this.cutOffs);
  taken = 0;

  meet(store: Store, atMs = nowMs): void {
    const content = store.content();
    const { revoked } = this.merge.learn(content, atMs);
    this.taken += revoked.length;
    for (const learnt of revoked) {
      if (learnt.what.kind === 'task') this.cutOffs.txns.add(learnt.what.txn, learnt.atMs);
      else this.cutOffs.add(learnt.what, learnt.atMs);
    }
    const lacking = this.merge.lackedBy(content);
    store.add(store.cutOffs, lacking.cutOffs);
    store.add(store.txns, lacking.txns);
  }

  stops(sub: string, issuedAtMs: number): boolean {
    return this.cutOffs.stops({
      subject: { iss: 'https://sso.example.org', sub, kind: 'user' },
      grant: undefined,
      issuedAtMs,
    });
  }
}

const step = oneof(
  record({ do: constant('revoke' as const), at: nat(2), sub: nat(4), ms: nat(1000) }),
  record({ do: constant('meet' as const), at: nat(2) }),
  constant({ do: 'wipe' as const }),
);

test('whoever tells whom first, and whatever the store forgets, all come to know the latest time of each', () => {
  assert(
    property(array(step, { maxLength: 40 }), (steps) => {
      let store = new Store();
      const sidecars = [new Sidecar(), new Sidecar(), new Sidecar()];
      const latest = new Map<string, number>();
      for (const one of steps) {
        if (one.do === 'wipe') store = new Store();
        if (one.do === 'meet') sidecars[one.at]?.meet(store);
        if (one.do !== 'revoke') continue;
        const beforeMs = nowMs - 1000 + one.ms;
        sidecars[one.at]?.cutOffs.add(user(`u${one.sub}`), beforeMs);
        latest.set(`u${one.sub}`, Math.max(beforeMs, latest.get(`u${one.sub}`) ?? 0));
      }
      for (let round = 0; round < 2; round += 1) for (const sidecar of sidecars) sidecar.meet(store);
      for (const sidecar of sidecars) {
        for (const [sub, beforeMs] of latest) {
          expect([sidecar.stops(sub, beforeMs - 1), sidecar.stops(sub, beforeMs)]).toEqual([true, false]);
        }
        // Who knows all of it takes and tells nothing more.
        const { taken } = sidecar;
        sidecar.meet(store);
        expect(sidecar.taken).toBe(taken);
        expect(sidecar.merge.lackedBy(store.content())).toEqual({ cutOffs: [], txns: [] });
      }
    }),
    { numRuns: 300 },
  );
});

test('with more than can be kept, what is forgotten is refused everywhere, and nobody takes and tells for ever', () => {
  const store = new Store();
  const [one, two] = [new Sidecar(), new Sidecar()];
  for (let at = 0; at < 3000; at += 1) one.cutOffs.add(user(`a${at}`), nowMs - 20_000 + at);
  for (let at = 0; at < 3000; at += 1) two.cutOffs.add(user(`b${at}`), nowMs - 10_000 + at);
  for (let round = 0; round < 4; round += 1) for (const sidecar of [one, two]) sidecar.meet(store);
  const taken = one.taken + two.taken;
  for (let round = 0; round < 4; round += 1) for (const sidecar of [one, two]) sidecar.meet(store);
  expect(one.taken + two.taken).toBe(taken);
  for (const sidecar of [one, two]) {
    expect(sidecar.cutOffs.list().length).toBeLessThanOrEqual(4096);
    for (let at = 0; at < 3000; at += 100) {
      expect([sidecar.stops(`a${at}`, nowMs - 20_001 + at), sidecar.stops(`b${at}`, nowMs - 10_001 + at)]).toEqual([
        true,
        true,
      ]);
    }
    // And nobody else of a time of whom all are remembered.
    expect(sidecar.stops('nobody', nowMs - 18_000)).toBe(false);
  }
});

test('of more transactions than can be kept the newest stay, whoever hears of them last, and nobody takes and tells for ever', () => {
  const store = new Store();
  const [one, two] = [new Sidecar(), new Sidecar()];
  for (let at = 0; at < 10_000; at += 1) one.cutOffs.txns.add(`a${at}`, nowMs - 20_000 + at);
  for (let at = 0; at < 10_000; at += 1) two.cutOffs.txns.add(`b${at}`, nowMs - 10_000 + at);
  for (let round = 0; round < 4; round += 1) for (const sidecar of [one, two]) sidecar.meet(store);
  const taken = one.taken + two.taken;
  for (let round = 0; round < 4; round += 1) for (const sidecar of [one, two]) sidecar.meet(store);
  expect(one.taken + two.taken).toBe(taken);
  for (const { cutOffs, merge } of [one, two]) {
    for (let at = 0; at < 10_000; at += 100) expect(cutOffs.txns.has(`b${at}`)).toBe(true);
    for (let at = 4000; at < 10_000; at += 100) expect(cutOffs.txns.has(`a${at}`)).toBe(true);
    expect(merge.lackedBy(store.content()).txns).toEqual([]);
  }
});

test('of a store with more than is read, what is not read is refused', () => {
  const store = new Store();
  for (let at = 0; at < 6000; at += 1) store.cutOffs.set(memberOf(user(`a${at}`)), nowMs - 10_000 + at);
  // Strangers' entries take places.
  for (let at = 0; at < 100; at += 1) store.cutOffs.set(`stranger ${at}`, nowMs);
  const sidecar = new Sidecar();
  sidecar.meet(store);
  for (let at = 0; at < 6000; at += 100) expect(sidecar.stops(`a${at}`, nowMs - 10_001 + at)).toBe(true);
  expect(sidecar.stops('nobody', nowMs - 7900)).toBe(false);
});

/** A principal of any kind, and what a request comes with that it must stop. */
const revoked = tuple(constantFrom('token', 'subject', 'agent', 'tool', 'all'), string(), string()).map(
  ([kind, iss, name]): [Principal, Opening] => {
    const subject = { iss, sub: name, kind: 'user' } as const;
    const token = { token: new Secret('x'), tokenType: '', iss, sub: '', jti: name, expiresAtMs: 1 };
    const opening: Opening = { subject, grant: token, caller: name, issuedAtMs: nowMs - 1 };
    if (kind === 'token') return [tokenOf(iss, name), opening];
    if (kind === 'subject') return [{ kind, iss, sub: name }, opening];
    if (kind === 'agent')
      return [
        { kind, id: name || 'x' },
        { ...opening, caller: name || 'x' },
      ];
    return [kind === 'tool' ? { kind, name } : { kind: 'all' }, opening];
  },
);

describe('an entry of the store', () => {
  test('that is ours is read as it was written, and stops the same', () => {
    assert(
      property(revoked, ([what, opening]) => {
        const entry = { member: memberOf(what), score: nowMs };
        const read = readCutOff(entry, nowMs);
        expect(read).toEqual({ what, atMs: nowMs });
        const [here, there, store] = [new Sidecar(), new Sidecar(), new Store()];
        here.cutOffs.add(what, nowMs);
        for (let round = 0; round < 3; round += 1) for (const sidecar of [here, there]) sidecar.meet(store);
        expect([...store.cutOffs.keys()]).toEqual([entry.member]);
        const stopped = [here, there].map(({ cutOffs }) =>
          what.kind === 'tool'
            ? cutOffs.closedTools(new Set([what.name]), nowMs - 1).has(what.name)
            : cutOffs.stops(opening),
        );
        expect(stopped).toEqual([true, true]);
      }),
    );
    expect(readTxn({ member: 'abc', score: 5 }, nowMs)).toEqual({ what: { kind: 'task', txn: 'abc' }, atMs: 5 });
  });

  test('that is ahead of our clock counts as half a minute ahead, once', () => {
    const sidecar = new Sidecar();
    const store = new Store();
    store.cutOffs.set('["all"]', Infinity);
    for (let round = 0; round < 3; round += 1) sidecar.meet(store, nowMs + 1000 * round);
    expect([sidecar.taken, sidecar.cutOffs.list()]).toEqual([
      1,
      [{ principal: { kind: 'all' }, beforeMs: nowMs + 30_000 }],
    ]);
  });

  test('that is not ours is nothing', () => {
    for (const member of [
      '',
      '1',
      '[]',
      '["all","x"]',
      '["tool"]',
      '["tool",1]',
      '["none"]',
      `["tool","${'x'.repeat(5000)}"]`,
    ])
      expect(readCutOff({ member, score: 5 }, nowMs)).toBeUndefined();
    for (const score of [Number.NaN, -1]) expect(readCutOff({ member: '["all"]', score }, nowMs)).toBeUndefined();
    for (const member of ['', 'a b', 'x'.repeat(101), 'a\n'])
      expect(readTxn({ member, score: 5 }, nowMs)).toBeUndefined();
  });
});
