import { request, type ServerResponse } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Caller } from '../stage/caller.ts';
import { openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { expectPasses, refusalCounts } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;
let tool: EchoTool;
let caller: Caller;

beforeAll(async () => {
  tool = await openEchoTool();
  stage = await openWayIn({
    tools: { crm: { port: tool.port }, plain: { port: tool.port, token: false } },
    answer: passOn,
  });
  caller = await stage.caller();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

/** A program that sends what it gets to where the path says, with every header that came, and answers with what comes back. */
function passOn(call: SeenCall, response: ServerResponse): void {
  const { outbound, inbound = '' } = stage.sidecar.addresses;
  const [, name = ''] = call.path.split('/');
  const round = name === 'round';
  const [host = '', port] = (round ? inbound : outbound).split(':');
  const headers = { ...call.headers, host: round ? 'agent.localhost' : `${name}.test` };
  const path = round ? '/crm/again' : `http://${name}.test/x`;
  const sent = request({ host, port: Number(port), path, headers, agent: false }, (answer) => {
    response.writeHead(answer.statusCode ?? 0, { 'content-type': answer.headers['content-type'] ?? 'text/plain' });
    answer.pipe(response);
  });
  sent.on('error', () => response.destroy()).end();
}

const vias = (value: string | undefined): string[] => (value ?? '').split(',').map((one) => one.trim());

test('a program that passes all headers on to a tool, Via with them, has sent its request nowhere twice', async () => {
  for (const name of ['crm', 'plain']) {
    await expectPasses(stage, name, () =>
      caller.send({ path: `/${name}`, headers: [['Via', '1.1 front.example.org']] }),
    );
    const [program, arrived] = [stage.program.seen.at(-1)!, tool.seen.at(-1)!].map(({ headers }) => vias(headers.via));
    expect(program).toEqual(['1.1 front.example.org', expect.stringMatching(/^1\.1 \S+$/)]);
    // The tool reads the whole way: the caller's proxy, the way in, and the way out by another name than the way in.
    expect(arrived).toEqual([...program!, expect.stringMatching(/^1\.1 \S+$/)]);
    expect(new Set(arrived).size).toBe(3);
  }
  expect([...(await refusalCounts(stage.sidecar)).keys()]).not.toContain('refused proxy_loop');
});

test('a request that comes round to the way in that it came by is a loop, before its token is looked at', async () => {
  const [seen, called] = [stage.program.seen.length, tool.seen.length];
  const answer = await caller.send({ path: '/round' });
  expect([answer.status, answer.code]).toEqual([508, 'proxy_loop']);
  // The program had it the one time that sent it round.
  expect(stage.program.seen.slice(seen).map(({ path }) => path)).toEqual(['/round']);
  expect(tool.seen.length).toBe(called);
  const refused = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.refused');
  expect(refused).toMatchObject({ way: 'in', code: 'proxy_loop', status: 508, target: { method: 'GET' } });
  expect(refused).not.toHaveProperty('subject');
});

test('another Waybill in Via is no loop, nor is a name that is nearly ours', async () => {
  await expectPasses(stage, 'first', () => caller.send({ path: '/plain' }));
  const [own = ''] = vias(stage.program.seen.at(-1)!.headers.via);
  const others = ['1.1 waybill', '1.1 waybill-in-000000000000', own.slice(0, -1)];
  for (const via of others)
    await expectPasses(stage, via, () => caller.send({ path: '/plain', headers: [['Via', via]] }));
});
