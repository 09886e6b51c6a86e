import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { type Caller, openCaller } from '../stage/caller.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const replay = { future: '1s' };
const seconds = (): number => Math.floor(Date.now() / 1000);
let txnCount = 0;

/** Sends the same bytes twice, and says what came of it and how many uses were remembered. */
async function sendTwice(stage: WayInStage, caller: Caller, request: Parameters<Caller['bytes']>[0]) {
  const before = await stage.sidecar.metric('waybill_ledger_entries');
  const bytes = caller.bytes(request);
  const codes = [(await caller.sendBytes(bytes)).code, (await caller.sendBytes(bytes)).code];
  return { codes, spent: (await stage.sidecar.metric('waybill_ledger_entries')) - before };
}

describe('W6: what is refused before it is done spends nothing, so that whoever sends it again is no thief', () => {
  let full: WayInStage;
  let fullOnce: WayInStage;
  const sections = { tasks: { mode: 'detached', max_open: 64, deadline: '10m' }, replay };

  beforeAll(async () => {
    full = await openWayIn({ sections });
    fullOnce = await openWayIn({ sections, name: 'once', inbound: { token: { once: true } } });
    await sleep(3200);
  });
  afterAll(async () => {
    await full?.close();
    await fullOnce?.close();
  });

  test('where as many tasks are open as may be', { timeout: 60_000 }, async () => {
    const caller = await full.caller();
    await caller.send({ proof: null });
    const used = caller.bytes({ path: '/used' });
    expect((await caller.sendBytes(used)).status).toBe(200);
    for (let at = 0; (await caller.send({ path: `/${at}` })).status === 200; at++) expect(at).toBeLessThan(300);
    const seen = full.program.seen.length;
    expect(await sendTwice(full, caller, { path: '/again' })).toEqual({
      codes: ['overloaded', 'overloaded'],
      spent: 0,
    });
    expect(full.program.seen.length).toBe(seen);
    // A replay is told as a replay, also where there is no room.
    expect((await caller.sendBytes(used)).code).toBe('proof_reused');
  });

  test('nor a token for one use', { timeout: 60_000 }, async () => {
    let caller: Caller;
    let code: string | undefined;
    do {
      caller = await openCaller(fullOnce.to);
      await caller.send({ proof: null });
      code = (await caller.send({ path: '/x' })).code;
    } while (code === undefined);
    expect(code).toBe('overloaded');
    expect((await caller.send({ path: '/x' })).code).toBe('overloaded');
  });
});

describe('W6: nor is a part of it spent where there is no room for all of it', () => {
  let stage: WayInStage;

  beforeAll(async () => {
    const inbound = { token: { once: true } };
    stage = await openWayIn({ name: 'narrow', inbound, sections: { replay: { ...replay, max_entries: 3 } } });
    await sleep(3200);
  });
  afterAll(() => stage?.close());

  test('the same proof passes when there is', { timeout: 30_000 }, async () => {
    const [first, second] = [await openCaller(stage.to, { exp: seconds() + 6 }), await openCaller(stage.to)];
    for (const caller of [first, second]) await caller.send({ proof: null });
    expect((await first.send({ path: '/used' })).status).toBe(200);
    expect(await stage.sidecar.metric('waybill_ledger_entries')).toBe(2);
    const bytes = second.bytes({ path: '/again' });
    const codes = [(await second.sendBytes(bytes)).code, (await second.sendBytes(bytes)).code];
    expect(codes).toEqual(['ledger_full', 'ledger_full']);
    // A replay is told as a replay, and takes no room either.
    expect((await first.send({ path: '/used' })).code).toBe('token_spent');
    expect(await stage.sidecar.metric('waybill_ledger_entries')).toBe(2);
    const entries = async (): Promise<number> => stage.sidecar.metric('waybill_ledger_entries');
    await eventually('its token has ended', async () => (await entries()) === 1, 15_000);
    expect([(await second.sendBytes(bytes)).status, (await second.sendBytes(bytes)).code]).toEqual([
      200,
      'proof_reused',
    ]);
  });
});

describe('W6: nor does a token that is not good for one use', () => {
  let stage: WayInStage;

  beforeAll(async () => {
    stage = await openWayIn({
      typ: ['at+jwt'],
      inbound: (issuer) => ({
        token: { once: true },
        txn_token: { audience: 'example.org', issuer, once: true, sub: 'any' },
      }),
      sections: { replay },
    });
    await sleep(3200);
  });
  afterAll(() => stage?.close());

  const txnToken = (claims: Record<string, unknown> = {}): Promise<string> =>
    stage.service.subjectToken(
      { aud: 'example.org', txn: `t${++txnCount}`, scope: 'a', req_wl: 'w', exp: seconds() + 200, ...claims },
      'txntoken+jwt',
    );

  test.for([
    ['without a jti', () => ({ jti: undefined }), 'token_invalid'],
    ['from before the start', () => ({ iat: seconds() - 60 }), 'ledger_warming'],
    ['dated ahead', () => ({ iat: seconds() + 20 }), 'token_invalid'],
  ] as const)('%s', async ([, claims, code]) => {
    const caller = await openCaller(stage.to, claims());
    await caller.send({ proof: null });
    const headers = [['Txn-Token', await txnToken()]] as const;
    expect(await sendTwice(stage, caller, { path: '/x', headers })).toEqual({ codes: [code, code], spent: 0 });
  });

  test('a transaction token from before the start takes neither proof nor access token with it', async () => {
    const caller = await stage.caller();
    const old = [['Txn-Token', await txnToken({ iat: seconds() - 100 })]] as const;
    expect(await sendTwice(stage, caller, { path: '/x', headers: old })).toEqual({
      codes: ['ledger_warming', 'ledger_warming'],
      spent: 0,
    });
    const fresh = [['Txn-Token', await txnToken()]] as const;
    expect((await caller.send({ path: '/x', headers: fresh })).status).toBe(200);
  });

  test('one that is not valid yet is not taken', async () => {
    const caller = await stage.caller();
    const headers = [['Txn-Token', await txnToken({ nbf: seconds() + 150 })]] as const;
    const { status, code } = await caller.send({ path: '/x', headers });
    expect([status, code]).toEqual([401, 'token_invalid']);
  });
});
