import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
beforeAll(async () => {
  tool = await openEchoTool();
});
afterAll(() => tool.close());

const tellings = [
  ['invalid_client', 503, 'token_service_unavailable', "does not accept this sidecar's client authentication"],
  ['invalid_target', 403, 'exchange_refused', 'audience or resource'],
] as const;

test.for(tellings)('W1: %s is told to agent, record and operator', async ([error, status, code, words]) => {
  const stage = await openStage({ tools: { crm: { port: tool.port } }, service: { lie: error } });
  const { sidecar } = stage;
  try {
    for (const user of ['alice', 'bob', 'carol']) {
      const { handle } = await stage.task(user);
      const answer = await callThrough(sidecar.addresses.outbound, 'http://crm.test/', { handle });
      expect([answer.status, answer.code]).toEqual([status, code]);
      const { detail } = JSON.parse(answer.body) as { detail: string };
      expect(detail).toContain(words);
      expect(detail).toContain(`(${error})`);
    }
    const lines = sidecar.output().split('\n');
    const told = lines.filter((line) => line.includes(error)).map((line) => JSON.parse(line) as unknown);
    expect(told).toMatchObject([{ service: 'corp', error }]);
    await sidecar.stop();
    const refused = readRecord(sidecar.eventsFile).filter(({ event }) => event === 'call.refused');
    expect(refused.map(({ cause }) => cause)).toEqual([error, error, error]);
  } finally {
    await stage.close();
  }
});

test('W8: a text of the service is told nobody, whatever it calls its error', async () => {
  const stage = await openStage({ tools: { crm: { port: tool.port } }, service: { lie: 'unknown_error' } });
  const { sidecar } = stage;
  try {
    const { handle } = await stage.task();
    const answer = await callThrough(sidecar.addresses.outbound, 'http://crm.test/', { handle });
    expect([answer.status, answer.code]).toEqual([403, 'exchange_refused']);
    await sidecar.stop();
    const refused = readRecord(sidecar.eventsFile).filter(({ event }) => event === 'call.refused');
    expect(refused).toHaveLength(1);
    expect(refused[0]).not.toHaveProperty('cause');
    expect(answer.body + JSON.stringify(refused) + sidecar.output()).not.toContain('unheard');
  } finally {
    await stage.close();
  }
});
