import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let echo: EchoTool;
let stage: Stage;

const long = '/documentation/of/the/whole/company/**';

/** In the order of the configuration; what is odd about each stands in its name. */
const matches: Record<string, object> = {
  wild: { host: '*.h.test', paths: ['/api/**', '/api/admin/exactly/this'] },
  public: { host: 'h.test', paths: ['/api/**', long] },
  admin: { host: 'h.test', paths: ['/api/admin/**'] },
  'admin-again': { host: 'h.test', paths: [`${long}/x`, '/api/admin/**'] },
  readers: { host: 'h.test', methods: ['GET'], paths: ['/api/admin/reports/**'] },
  rest: { host: 'h.test' },
  ported: { host: 'h.test', port: 80, paths: ['/by/**'] },
  longer: { host: 'h.test', paths: ['/by/the/longer/path'] },
  'exact-host': { host: 'a.h.test', paths: ['/api/**'] },
};

beforeAll(async () => {
  echo = await openEchoTool();
  const { port } = echo;
  stage = await openStage({
    tools: Object.fromEntries(
      Object.entries(matches).map(([name, match]) => [name, { port, token: false, more: { match } }]),
    ),
    sections: { rules: [{ name: 'all-but-admin', effect: 'allow', when: '!call.tool.startsWith("admin")' }] },
  });
});
afterAll(async () => {
  await stage?.close();
  await echo.close();
});

/** The tool that a call is of, as the record says. */
async function toolOf(url: string, method: string): Promise<unknown> {
  const ofCalls = () =>
    readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'call.admitted' || event === 'call.refused');
  const before = ofCalls().length;
  await callThrough(stage.sidecar.addresses.outbound, url, { method });
  await eventually('the call is in the record', () => ofCalls().length > before);
  return ofCalls().at(-1)?.['tool'];
}

test.each([
  ['h.test/api/admin/delete-all', 'admin'],
  ['h.test/api/x', 'public'],
  ['h.test/documentation/of/the/whole/company/y', 'public'],
  ['h.test/api/admin/reports/x', 'readers'],
  // Its own method does not fit, so the next best is it.
  ['h.test/api/admin/reports/x', 'admin', 'POST'],
  ['h.test/elsewhere', 'rest'],
  // A named port comes before a path, and a host before both.
  ['h.test/by/the/longer/path', 'ported'],
  ['h.test:8080/by/the/longer/path', 'longer'],
  ['a.h.test/api/admin/exactly/this', 'exact-host'],
  ['b.h.test/api/admin/exactly/this', 'wild'],
])('W9: %s is a call of %s, whatever else a tool lists', async (url, tool, method = 'GET') => {
  expect(await toolOf(`http://${url}`, method)).toBe(tool);
});
