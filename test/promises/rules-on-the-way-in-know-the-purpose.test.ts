import { afterAll, beforeAll, expect, test } from 'vitest';
import { callThrough } from '../stage/raw-call.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;

beforeAll(async () => {
  stage = await openWayIn({
    inbound: { present: 'handle' },
    sections: {
      rules: [
        { name: 'not-for-this', effect: 'deny', when: 'task.purpose == "reconcile" && call.path.startsWith("/pay")' },
        { name: 'rest', effect: 'allow', when: 'true' },
      ],
    },
    tools: { crm: { port: 9 } },
  });
});
afterAll(() => stage?.close());

test('the purpose of the agent is that of requests whose callers name none, and rules hold for it on both ways', async () => {
  const caller = await stage.caller();
  const refused = await caller.call({ path: '/pay' });
  expect([refused.status, refused.code]).toEqual([403, 'denied_by_rule']);
  expect(stage.program.seen.map(({ path }) => path)).toEqual([]);
  const passed = await caller.call({ path: '/look' });
  expect(passed.status).toBe(200);
  const handle = String(stage.program.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
  const out = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/pay', { handle });
  expect([out.status, out.code]).toEqual([403, 'denied_by_rule']);
});
