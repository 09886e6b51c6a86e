import { readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { eventsOf, readRecord } from '../stage/event-record.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import { callOperator, type StagedTask } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { tries } from '../stage/tries.ts';
import { openWire, request, waysIn, type Destination, type Wire } from '../stage/wire.ts';

/** What nothing may be late by. A machine that stops for so long by itself gets another try. */
const promptMs = 100;
const prompt = { ...tries, timeout: 5000 };
const eventStream = { 'content-type': 'text/event-stream' };

let stage: Stage;
let tools: ScriptedTool[];
let to: Destination;
let task: StagedTask;
/** The answer that waits for the test to go on with it. */
let held: ServerResponse | undefined;

beforeAll(async () => {
  const certificate = await makeToolCertificate('secure.test');
  const answer = ({ url }: IncomingMessage, response: ServerResponse): void => {
    if (url === '/many') response.writeHead(200, eventStream).write('data: 1\n\n');
    else held = response;
  };
  tools = [await openScriptedTool(answer), await openScriptedTool(answer, certificate)];
  const [plain, secure] = tools.map(({ port }) => port);
  stage = await openStage({
    tools: { plain: { port: plain ?? 0 }, secure: { port: secure ?? 0, ca: certificate.ca, proof: 'dpop' } },
  });
  task = await stage.task();
  const ca = readFileSync(stage.sidecar.caFile, 'utf8');
  const { outbound } = stage.sidecar.addresses;
  to = { outbound, handle: task.handle, plainHost: 'plain.test', tlsHost: 'secure.test', ca };
  // The first call of each tool makes the exchange and the connection.
  for (const way of waysIn) (await begin(way, '/warm')).wire.socket.destroy();
});
afterAll(async () => {
  await stage.close();
  for (const tool of tools) await tool.close();
});

async function begin(way: (typeof waysIn)[number], path: string): Promise<{ wire: Wire; response: ServerResponse }> {
  held = undefined;
  const wire = await openWire(way, to);
  wire.socket.write(request(way, to, path));
  await eventually('the tool is called', () => held !== undefined);
  return { wire, response: held! };
}

test.each(waysIn)(
  '%s: the head of an answer comes before its first event, and every event at once',
  prompt,
  async (way) => {
    const { wire, response } = await begin(way, '/events');
    let sentAt = performance.now();
    response.writeHead(200, eventStream).flushHeaders();
    expect((await wire.until('\r\n\r\n')) - sentAt).toBeLessThan(promptMs);
    expect(wire.received).toMatch(/^HTTP\/1\.1 200 /);
    for (const count of [1, 2, 3]) {
      await sleep(20);
      sentAt = performance.now();
      response.write(`data: ${count}\n\n`);
      expect((await wire.until(`data: ${count}\n\n`)) - sentAt).toBeLessThan(promptMs);
    }
    response.end();
    await wire.until('0\r\n\r\n');
    wire.socket.destroy();
  },
);

test.each(waysIn)('%s: an agent that leaves a stream is gone for the tool within 100 ms', prompt, async (way) => {
  const { wire, response } = await begin(way, '/left');
  response.writeHead(200, eventStream).write('data: 1\n\n');
  await wire.until('data: 1');
  const closed = new Promise<number>((done) => response.once('close', () => done(performance.now())));
  const leftAt = performance.now();
  wire.socket.destroy();
  expect((await closed) - leftAt).toBeLessThan(promptMs);
});

test.each(waysIn)('%s: the same while it waits for the first byte', prompt, async (way) => {
  const { wire, response } = await begin(way, '/waiting');
  const closed = new Promise<number>((done) => response.once('close', () => done(performance.now())));
  const leftAt = performance.now();
  wire.socket.destroy();
  expect((await closed) - leftAt).toBeLessThan(promptMs);
});

test.each(waysIn)(
  '%s: a tool that dies in its answer cuts the agent: half an answer never looks whole',
  prompt,
  async (way) => {
    const { wire, response } = await begin(way, '/dies');
    response.writeHead(200, eventStream).write('data: 1\n\n');
    await wire.until('data: 1');
    const diedAt = performance.now();
    response.socket?.destroy();
    expect((await wire.untilClosed()) - diedAt).toBeLessThan(promptMs);
    expect(wire.received).not.toContain('0\r\n\r\n');
  },
);

test('the end of a task cuts its streams, and the record says so', prompt, async () => {
  const own = await stage.task('bob');
  const cutPath = (way: string): string => `/${own.txn}/${way.replaceAll(/\W/g, '')}`;
  const before = to;
  to = { ...to, handle: own.handle };
  const begun = [];
  for (const way of waysIn) begun.push(await begin(way, cutPath(way)));
  to = before;
  const closed = begun.map(
    ({ response }) => new Promise<number>((done) => response.once('close', () => done(performance.now()))),
  );
  for (const { wire, response } of begun) {
    response.writeHead(200, eventStream).write('data: 1\n\n');
    await wire.until('data: 1');
  }
  const endedAt = performance.now();
  const answer = await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${own.txn}/complete`);
  expect(answer.status).toBe(200);
  for (const { wire } of begun) expect((await wire.untilClosed()) - endedAt).toBeLessThan(promptMs);
  for (const at of await Promise.all(closed)) expect(at - endedAt).toBeLessThan(promptMs);
  const ends = (): unknown[] =>
    waysIn.flatMap((way) =>
      eventsOf(readRecord(stage.sidecar.eventsFile), cutPath(way))
        .filter(({ event }) => event === 'call.ended')
        .map(({ outcome, status }) => `${String(outcome)} ${String(status)}`),
    );
  await eventually('the ends are recorded', () => ends().length === 3);
  expect(ends()).toEqual(['cut 200', 'cut 200', 'cut 200']);
});

test('a thousand streams that agents left leave no connection behind', async () => {
  const [plain] = tools;
  const descriptors = (): number => readdirSync(`/proc/${stage.sidecar.pid}/fd`).length;
  const [socketsBefore, descriptorsBefore] = [plain?.sockets.size ?? 0, descriptors()];
  let left = 1000;
  const work = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const wire = await openWire('absolute-form', to);
      wire.socket.write(request('absolute-form', to, '/many'));
      await wire.until('data: 1', 20_000);
      wire.socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: 20 }, work));
  await eventually(
    'all are gone',
    () => (plain?.sockets.size ?? 0) <= socketsBefore && descriptors() <= descriptorsBefore,
  );
  const aborted = 'waybill_requests_total{way="out",tool="plain",outcome="aborted"}';
  await expect.poll(() => stage.sidecar.metric(aborted)).toBeGreaterThanOrEqual(1000);
}, 60_000);
