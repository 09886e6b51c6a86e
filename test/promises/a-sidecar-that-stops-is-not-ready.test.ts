import { afterEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { answerEcho, openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;

afterEach(async () => {
  await stage?.close();
  await tool?.close();
});

test('from SIGTERM on it says that it is stopping, while the calls under way still end', async () => {
  const held: (() => void)[] = [];
  tool = await openEchoTool({
    answer: (call, response) => void held.push(() => answerEcho(call, response)),
  });
  stage = await openStage({ tools: { open: { port: tool.port, token: false } } });
  const { health, outbound } = stage.sidecar.addresses;
  const ask = async (path: string) => {
    const answer = await fetch(`http://${health}${path}`);
    return { status: answer.status, body: await answer.json() };
  };
  const under = callThrough(outbound, 'http://open.test/');
  await eventually('the call is at the tool', () => held.length === 1);
  expect((await ask('/readyz')).status).toBe(200);

  const stopped = stage.sidecar.stop();
  await eventually('it stops', () => stage.sidecar.output().includes('"msg":"stopping"'));
  expect(await ask('/readyz')).toEqual({
    status: 503,
    body: { status: 'not ready', missing: ['the sidecar is stopping'] },
  });
  expect((await ask('/livez')).status).toBe(200);
  held[0]?.();
  expect((await under).status).toBe(200);
  expect(await stopped).toBe(0);
});
