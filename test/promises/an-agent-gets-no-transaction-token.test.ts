import { afterAll, beforeAll, expect, test } from 'vitest';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;

beforeAll(async () => {
  stage = await openWayIn({
    typ: ['at+jwt'],
    inbound: (issuer) => ({ txn_token: { audience: 'example.org', issuer, sub: 'any' } }),
  });
});
afterAll(() => stage?.close());

test("W2: an agent gets no copy of its caller's transaction token either", async () => {
  const caller = await stage.caller();
  const now = Math.floor(Date.now() / 1000);
  const claims = { aud: 'example.org', txn: 'txn-1', scope: 'a', req_wl: 'w', iat: now, exp: now + 200 };
  const txn = await stage.service.subjectToken(claims, 'txntoken+jwt');
  const headers: [string, string][] = [
    ['Txn-Token', txn],
    ['X-Copy', txn],
    ['X-Api-Key', txn],
    ['Cookie', `a=1; t=${txn}`],
  ];
  expect((await caller.send({ path: '/x', headers })).status).toBe(200);
  const arrived = stage.program.seen.at(-1)!;
  expect(arrived.rawHeaders.join('\n')).not.toContain(txn.split('.')[2]);
  expect(arrived.headers.cookie).toBe('a=1');
});
