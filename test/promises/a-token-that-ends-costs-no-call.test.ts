import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EchoTool, openEchoTool } from '../stage/echo-tool.ts';
import { send } from '../stage/load.ts';
import { basic } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const tasks = 300;
const rounds = 6;
const useForMs = 1000;
const agent = new Agent({ keepAlive: true });
let tool: EchoTool;
let stage: Stage;

beforeAll(async () => {
  tool = await openEchoTool();
  stage = await openStage({ tools: { crm: { port: tool.port, useFor: `${useForMs / 1000}s` } } });
});
afterAll(async () => {
  agent.destroy();
  await stage?.close();
  await tool?.close();
});

/** What came of calls that were made in the last moments of a token, by status and code. */
async function callAtEnds(answers: Map<string, number>): Promise<void> {
  const { handle } = await stage.task();
  const call = { origin: 'http://crm.test', path: '/', headers: { 'proxy-authorization': basic(handle) } };
  const ask = async (): Promise<void> => {
    const { status, body } = await send(stage.sidecar.addresses.outbound, agent, call);
    const what = status === 200 ? '200' : `${status} ${body}`;
    answers.set(what, (answers.get(what) ?? 0) + 1);
  };
  await sleep(Math.random() * useForMs);
  for (let round = 0; round < rounds; round++) {
    await ask();
    // It is found in the cache, and ends on the way from there to the tool: at 10 ms before its end no call leaves with it any more.
    await sleep(useForMs - 16 + Math.random() * 6);
    await ask();
    await sleep(useForMs);
  }
}

test('a call that comes in the last moment of a token goes out with it, or with the next', async () => {
  const answers = new Map<string, number>();
  await Promise.all(Array.from({ length: tasks }, () => callAtEnds(answers)));
  expect([...answers]).toEqual([['200', tasks * rounds * 2]]);
}, 60_000);
