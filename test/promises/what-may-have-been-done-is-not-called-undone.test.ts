import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { answerEcho } from '../stage/echo-tool.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;

beforeAll(async () => {
  stage = await openWayIn({
    answer: (call, response) => void setTimeout(() => answerEcho(call, response), call.path === '/pay' ? 300 : 0),
  });
});
afterAll(() => stage?.close());

test('W13: where junk behind a request takes the place of its answer, that says that it may have been done', async () => {
  const caller = await stage.caller();
  await caller.send({ proof: null });
  const socket = await caller.connect();
  let text = '';
  socket.on('data', (chunk: Buffer) => void (text += chunk.toString('latin1')));
  const seen = stage.program.seen.length;
  const refusals = 'waybill_refusals_total{way="in",stage="intercept",code="message_malformed"}';
  const before = await stage.sidecar.metric(refusals);
  socket.write(caller.bytes({ path: '/pay', method: 'POST', body: 'amount=1' }));
  await eventually('it is with the program', () => stage.program.seen.length > seen);
  socket.write('\x01\x02junk\r\n\r\n');
  await once(socket, 'close');
  expect(text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 400']);
  const answer = JSON.parse(text.slice(text.indexOf('{'))) as { hint: string; retryable: boolean };
  expect([answer.retryable, answer.hint]).toEqual([false, expect.stringContaining('It may have been done already')]);
  expect([stage.program.seen.length - seen, (await stage.sidecar.metric(refusals)) - before]).toEqual([1, 1]);
});
