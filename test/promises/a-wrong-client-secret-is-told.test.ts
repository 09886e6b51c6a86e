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

test.for([
  // Keycloak says this of an audience that is no client of its realm; a tool with a wrong one closes the way to no other tool.
  ['keycloak', 'no_audience', 403, 'exchange_refused', 'does not grant a token for the audience that was asked for'],
  ['keycloak', 'bad_assertion', 503, 'token_service_unavailable', "does not accept this sidecar's client auth"],
  ['keycloak', 'invalid_client', 503, 'token_service_unavailable', "does not accept this sidecar's client auth"],
  ['rfc8693', 'no_audience', 503, 'token_service_unavailable', "does not accept this sidecar's client auth"],
] as const)('profile %s, %s: %i %s', async ([profile, lie, status, code, words]) => {
  const stage = await openStage({ tools: { crm: { port: tool.port } }, service: { lie }, corp: { profile } });
  try {
    for (let count = 0; count < 8; count += 1) {
      const { handle } = await stage.task(`user-${count}`);
      const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/', { handle });
      expect([answer.status, answer.code]).toEqual([status, code]);
      expect(answer.body).toContain(words);
      expect(answer.body).toContain('(invalid_client)');
    }
    // A service that does not know us is left alone for a while.
    expect(stage.service.counts.token < 8).toBe(code === 'token_service_unavailable');
    expect(stage.sidecar.output()).toContain(words);
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
