import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { basic, dial, exchangeOn, requestBytes } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** More than what the buffers on the way take. */
const longBytes = 40_000_000;
let tool: EchoTool;
let stage: Stage;
let task: StagedTask;

beforeAll(async () => {
  tool = await openEchoTool({
    answer: (call, response) => {
      if (call.path === '/endless') response.write('for ever');
      else if (call.path === '/long') response.end(Buffer.alloc(longBytes, 'x'));
      else setTimeout(() => response.end(`answer to ${call.path}`), 200);
    },
  });
  stage = await openStage({ tools: { crm: { port: tool.port } } });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

const get = (path: string): Buffer =>
  requestBytes('GET', `http://crm.test${path}`, { Host: 'crm.test', 'Proxy-Authorization': basic(task.handle) });
const connect = (): Buffer =>
  requestBytes('CONNECT', 'crm.test:80', { Host: 'crm.test:80', 'Proxy-Authorization': basic(task.handle) });
/** Inside the tunnel that is asked for. */
const inside = Buffer.from('GET /inside HTTP/1.1\r\nHost: crm.test\r\n\r\n');

/** All that comes on a connection until it is closed. */
async function readAll(bytes: readonly Buffer[]): Promise<string> {
  const socket = dial(stage.sidecar.addresses.outbound);
  let read = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (read += chunk));
  const closed = new Promise((done) => socket.once('close', done));
  for (const chunk of bytes) {
    socket.write(chunk);
    await sleep(50);
  }
  await Promise.race([closed, sleep(3000)]);
  const rest = socket.destroyed ? '' : ' (left open)';
  socket.destroy();
  return read + rest;
}

test('W1: a CONNECT behind requests that are not answered yet is refused after their answers, and opens nothing', async () => {
  const pipelines = [
    [Buffer.concat([get('/one'), connect(), inside])],
    [get('/one'), connect(), inside],
    [Buffer.concat([get('/one'), get('/two'), connect()]), inside],
  ];
  for (const [at, bytes] of pipelines.entries()) {
    const before = readRecord(stage.sidecar.eventsFile).length;
    const read = await readAll(bytes);
    const statuses = Array.from(read.matchAll(/HTTP\/1\.1 (\d{3} [A-Za-z ]+)/g), ([, status]) => status);
    const answered = at === 2 ? ['answer to /one', 'answer to /two'] : ['answer to /one'];
    expect([at, statuses]).toEqual([at, [...answered.map(() => '200 OK'), '400 Bad Request']]);
    for (const text of answered) expect(read.indexOf(text)).toBeLessThan(read.indexOf('400 Bad Request'));
    expect(read).toMatch(/"code":"message_malformed".*\}$/);
    await eventually('the CONNECT has an event', () =>
      readRecord(stage.sidecar.eventsFile)
        .slice(before)
        .some((event) => event['code'] === 'message_malformed'),
    );
  }
  expect(tool.seen.map(({ path }) => path)).not.toContain('/inside');
  expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
});

test('an agent that goes away meanwhile is noticed, though its answer has no end', async () => {
  const before = readRecord(stage.sidecar.eventsFile).length;
  const socket = dial(stage.sidecar.addresses.outbound);
  socket.resume().write(Buffer.concat([get('/endless'), connect()]));
  const tells = (name: string) => (): boolean =>
    readRecord(stage.sidecar.eventsFile)
      .slice(before)
      .some(({ event }) => event === name);
  await eventually('the CONNECT is refused', tells('call.refused'));
  socket.destroy();
  await eventually('the call ended', tells('call.ended'));
});

test('the answer before it comes whole, however slowly it is read', { timeout: 30_000 }, async () => {
  const socket = dial(stage.sidecar.addresses.outbound);
  socket.pause().write(Buffer.concat([get('/long'), connect()]));
  await sleep(500);
  let bytes = 0;
  let end = '';
  const closed = new Promise((done) => socket.once('close', done));
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    end = (end + chunk.subarray(-2000).toString('latin1')).slice(-2000);
  });
  socket.resume();
  await Promise.race([closed, sleep(15_000)]);
  socket.destroy();
  expect(bytes).toBeGreaterThan(longBytes);
  expect(end).toContain('HTTP/1.1 400 Bad Request');
});

test('while one that comes after an answer opens its tunnel on the same connection', async () => {
  const socket = dial(stage.sidecar.addresses.outbound);
  try {
    expect((await exchangeOn(socket, get('/before'))).body).toBe('answer to /before');
    expect((await exchangeOn(socket, connect())).status).toBe(200);
    expect((await exchangeOn(socket, inside)).body).toBe('answer to /inside');
  } finally {
    socket.destroy();
  }
});
