import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import type { Caller } from '../stage/caller.ts';
import { exchangeOn, type RawAnswer } from '../stage/raw-call.ts';
import { expectEachRefused, expectPasses, refusalCounts } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

/** Outcomes of requests that are one proof, in order of their codes. */
function outcomeOf(answers: readonly RawAnswer[]): string {
  return answers
    .map(({ status, code }) => `${status} ${code ?? ''}`.trim())
    .toSorted()
    .join(', ');
}

function count(outcomes: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}

describe('W6: of racing requests with one proof exactly one passes', () => {
  let stage: WayInStage;
  let caller: Caller;
  let sockets: Socket[];
  const lanes = 8;

  beforeAll(async () => {
    stage = await openWayIn();
    caller = await stage.caller();
    sockets = await Promise.all(Array.from({ length: lanes * 4 }, () => caller.connect()));
  });
  afterAll(async () => {
    for (const socket of sockets ?? []) socket.destroy();
    await stage?.close();
  });

  test('1,000 racing pairs on two connections', async () => {
    const before = await refusalCounts(stage.sidecar);
    const pairs = 1000;
    let started = 0;
    const outcomes: string[] = [];
    const race = async (lane: number): Promise<void> => {
      const [one, other] = [sockets[lane * 2]!, sockets[lane * 2 + 1]!];
      while (started < pairs) {
        started += 1;
        const bytes = caller.bytes({ path: `/pair/${started}` });
        outcomes.push(outcomeOf(await Promise.all([exchangeOn(one, bytes), exchangeOn(other, bytes)])));
      }
    };
    await Promise.all(Array.from({ length: lanes }, (_, lane) => race(lane)));
    expect(count(outcomes)).toEqual({ '200, 401 proof_reused': pairs });
    const paths = stage.program.seen.map(({ path }) => path);
    expect([paths.length, new Set(paths).size]).toEqual([pairs, pairs]);
    const after = await refusalCounts(stage.sidecar);
    const grown = (key: string): number => (after.get(key) ?? 0) - (before.get(key) ?? 0);
    expect([grown('refused proof_reused'), grown('replay proof_reused proven')]).toEqual([pairs, pairs]);
    expect(await stage.sidecar.metric('waybill_ledger_entries')).toBe(pairs);
  });

  test('with bodies whose last byte comes at the same moment, four at a time', async () => {
    const outcomes: string[] = [];
    for (let round = 0; round < 50; round += 1) {
      const four = sockets.slice((round % lanes) * 4, (round % lanes) * 4 + 4);
      const bytes = caller.bytes({ method: 'POST', path: `/body/${round}`, body: 'x'.repeat(2000) });
      for (const socket of four) socket.write(bytes.subarray(0, -1));
      await new Promise((done) => setImmediate(done));
      outcomes.push(outcomeOf(await Promise.all(four.map((socket) => exchangeOn(socket, bytes.subarray(-1))))));
    }
    expect(count(outcomes)).toEqual({ [['200', ...Array(3).fill('401 proof_reused')].join(', ')]: 50 });
  });

  test('pipelined on one connection, ten times', async () => {
    const [socket] = sockets;
    const seen = stage.program.seen.length;
    const bytes = caller.bytes({ path: '/pipelined' });
    let read = '';
    const whole = Promise.withResolvers<void>();
    const onData = (chunk: Buffer): void => {
      read += chunk.toString('latin1');
      if (read.split('HTTP/1.1 ').length === 11 && read.split('"proof_reused"').length >= 10) whole.resolve();
    };
    socket!.on('data', onData).write(Buffer.concat(Array.from({ length: 10 }, () => bytes)));
    await whole.promise;
    socket!.off('data', onData);
    expect(count([...read.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status ?? ''))).toEqual({
      200: 1,
      401: 9,
    });
    expect(stage.program.seen.length - seen).toBe(1);
  });

  test('when its first user leaves before the answer, the proof is spent all the same', async () => {
    const bytes = caller.bytes({ path: '/left' });
    const socket = await caller.connect();
    socket.write(bytes);
    // Gone before it was forwarded, it would have spent its proof for nothing, which is allowed; here the program has it.
    const came = (): number => stage.program.seen.filter(({ path }) => path === '/left').length;
    await eventually('the program has it', () => came() > 0);
    socket.destroy();
    const answers = [await caller.sendBytes(bytes), await caller.sendBytes(bytes)];
    expect([came(), ...answers.map(({ code }) => code)]).toEqual([1, 'proof_reused', 'proof_reused']);
  });
});

describe('W6: kill -9 and restart between the two uses: none passes twice', () => {
  const kill = async (stage: WayInStage): Promise<void> => {
    await stage.sidecar.kill();
    await stage.restart();
  };

  test('with nonces, which are of one process', async () => {
    const stage = await openWayIn();
    try {
      const caller = await stage.caller();
      const spent = Array.from({ length: 10 }, (_, at) => caller.bytes({ path: `/${at}` }));
      for (const bytes of spent) await expectPasses(stage, 'before', () => caller.sendBytes(bytes));
      const unspent = caller.bytes({ path: '/unspent' });
      await kill(stage);
      const send = (what: string, bytes: Buffer) => ({
        what,
        code: 'nonce_required',
        send: () => caller.sendBytes(bytes),
      });
      await expectEachRefused(stage, [...spent.map((bytes) => send('spent', bytes)), send('unspent', unspent)]);
      await expectPasses(stage, 'a new proof', () => caller.send({ path: '/new' }));
    } finally {
      await stage.close();
    }
  });

  test('without nonces, proofs of the time before are refused for as long as they could be repeated', async () => {
    const sections = { replay: { nonce: 'off', future: '1s', window: '30s' } };
    const stage = await openWayIn({ sections });
    try {
      const caller = await stage.caller();
      expect(caller.nonce).toBeUndefined();
      await waitFor(async () => (await caller.send({ path: '/warm' })).status === 200);
      const ahead = { iat: Math.floor(Date.now() / 1000) + 1 };
      const spent = [caller.bytes({ path: '/a' }), caller.bytes({ path: '/b', claims: ahead })];
      for (const bytes of spent) await expectPasses(stage, 'before', () => caller.sendBytes(bytes));
      await kill(stage);
      const again = (what: string) =>
        spent.map((bytes) => ({ what, code: 'ledger_warming', send: () => caller.sendBytes(bytes) }));
      await expectEachRefused(stage, again('at once'));
      const warming = await caller.sendBytes(spent[0]!);
      expect([warming.status, Number(warming.headers['retry-after']) > 0]).toEqual([503, true]);
      // What is made from now on passes soon; what was spent never does, warm or not.
      const fresh = await waitFor(async () => (await caller.send({ path: '/fresh' })).status === 200);
      expect(fresh).toBeLessThan(8000);
      await expectEachRefused(stage, again('when it is warm'));
    } finally {
      await stage.close();
    }
  });
});

/** Tries each 200 ms until it holds; milliseconds that it took. */
async function waitFor(holds: () => Promise<boolean>): Promise<number> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > 15_000) throw new Error('not within 15 s');
    await new Promise((done) => setTimeout(done, 200));
  }
  return performance.now() - start;
}
