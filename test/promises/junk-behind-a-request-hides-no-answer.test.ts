import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { answerEcho } from '../stage/echo-tool.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;

beforeAll(async () => {
  stage = await openWayIn({
    typ: ['at+jwt'],
    inbound: (issuer) => ({ txn_token: { audience: 'example.org', issuer, sub: 'any' } }),
    answer: (call, response) => void setTimeout(() => answerEcho(call, response), call.path === '/pay' ? 300 : 0),
  });
});
afterAll(() => stage?.close());

test('W13: a request that the program has is answered as it was, and the junk behind it on its own, once', async () => {
  const caller = await stage.caller();
  await caller.send({ proof: null });
  const socket = await caller.connect();
  let text = '';
  socket.on('data', (chunk: Buffer) => void (text += chunk.toString('latin1')));
  const seen = stage.program.seen.length;
  const refusals = 'waybill_refusals_total{way="in",stage="intercept",code="message_malformed"}';
  const before = await stage.sidecar.metric(refusals);
  socket.write(caller.bytes({ path: '/pay', method: 'POST', body: 'amount=1' }));
  await sleep(100);
  for (const junk of ['\x01\x02junk\r\n\r\n', 'more', 'GET / HTTP/1.1\r\n\r\n']) {
    socket.write(junk);
    await sleep(20);
  }
  await once(socket, 'close');
  expect(text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400']);
  expect([stage.program.seen.length - seen, (await stage.sidecar.metric(refusals)) - before]).toEqual([1, 1]);
  const ends = () => stage.sidecar.events().filter(({ event }) => event === 'call.ended');
  await eventually('its end is recorded', () => ends().length > 0);
  expect(ends().at(-1)).toMatchObject({ status: 200 });
});

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
