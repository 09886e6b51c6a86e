import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import type { Arrival } from '../../proxy/intercept/call.ts';
import { hearRequests, httpServer } from '../../proxy/intercept/listener.ts';
import { closeServer } from '../../proxy/intercept/stop.ts';
import { eventually } from '../fakes/eventually.ts';

const graceMs = 10_000;
const clients: Socket[] = [];
let server: Server;
let sockets: Set<Socket>;

afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});

/** A listener as the sidecar has it, with somebody else behind it. */
async function open(answer: (arrival: Arrival) => void): Promise<void> {
  server = httpServer();
  sockets = new Set();
  server.on('connection', (socket: Socket) => void sockets.add(socket));
  hearRequests(server, new WeakMap(), {
    onRequest: answer,
    checkTunnel: () => undefined,
    onRefused: () => undefined,
    onTurnedAway: () => undefined,
    nextCallId: () => 'c1',
    monotonic: () => performance.now(),
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
}

async function dial(text: string): Promise<Socket> {
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  clients.push(client.on('error', () => undefined));
  await once(client, 'connect');
  client.write(text);
  return client;
}

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

function stop(): Promise<number> {
  const startedAt = performance.now();
  return closeServer(server, server, sockets, graceMs).then(() => performance.now() - startedAt);
}

test('an answer that is handed over and not yet read goes out whole', async () => {
  const bytes = 32 * 1024 * 1024;
  let ended = false;
  await open(({ response }) => {
    response.end(Buffer.alloc(bytes));
    ended = true;
  });
  const client = await dial(get('/'));
  await eventually('it is answered', () => ended);
  const stopped = stop();
  await sleep(50);
  let got = 0;
  client.on('data', (chunk: Buffer) => void (got += chunk.length));
  await once(client, 'close');
  expect(got).toBeGreaterThan(bytes);
  expect(await stopped).toBeLessThan(graceMs / 2);
});

test('an idle connection ends soon, and one that is answered right behind its answer', async () => {
  const held: Arrival[] = [];
  await open((arrival) => void held.push(arrival));
  const idle = await dial(get('/first'));
  const busy = await dial(get('/second'));
  await eventually('both came', () => held.length === 2);
  const first = held.find(({ request }) => request.url === '/first')!;
  first.response.end('1');
  await once(idle, 'data');
  const stopped = stop();
  await once(idle, 'close');
  expect(busy.destroyed).toBe(false);
  const second = held.find(({ request }) => request.url === '/second')!;
  let text = '';
  busy.on('data', (chunk: Buffer) => void (text += chunk.toString()));
  second.response.end('2');
  await once(busy, 'close');
  expect(text).toContain('\r\n\r\n2');
  expect(await stopped).toBeLessThan(graceMs / 2);
});

test('what comes on it meanwhile is not begun', async () => {
  const held: Arrival[] = [];
  await open((arrival) => void held.push(arrival));
  const client = await dial(get('/under-way'));
  await eventually('it came', () => held.length === 1);
  const stopped = stop();
  held[0]!.response.end('1');
  client.write(get('/afterwards'));
  client.resume();
  await once(client, 'close');
  await stopped;
  expect(held.map(({ request }) => request.url)).toEqual(['/under-way']);
});

test.for([
  ['before', 10],
  ['before', 300_000],
  ['after', 10],
  ['after', 8_000_000],
] as const)('an early answer, %s the stop began, is not overtaken by a reset: %i bytes', async ([when, bytes]) => {
  const held: Arrival[] = [];
  await open((arrival) => void held.push(arrival));
  const client = await dial('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n');
  const upload = setInterval(() => client.writable && client.write(Buffer.alloc(20_000)), 3);
  client.once('close', () => clearInterval(upload));
  await eventually('it came', () => held.length === 1);
  const answer = (): void => void held[0]!.response.end(Buffer.alloc(bytes));
  if (when === 'before') answer();
  await sleep(100);
  void stop();
  await sleep(50);
  if (when === 'after') answer();
  await sleep(300);
  let got = 0;
  let fault: unknown;
  client.on('error', (error) => (fault = error));
  client.on('data', (chunk: Buffer) => void (got += chunk.length));
  await eventually('all of it is there', () => got > bytes || fault !== undefined);
  expect([got > bytes, fault]).toEqual([true, undefined]);
});

test('a request that is being received is still answered, and says that the connection ends', async () => {
  const held: Arrival[] = [];
  await open((arrival) => {
    held.push(arrival);
    arrival.response.end('1');
  });
  const [fresh, kept] = [await dial('GET /fresh HTTP/1.1\r\nHo'), await dial(get('/first'))];
  await once(kept, 'data');
  kept.write('GET /kept HTTP/1.1\r\nHo');
  await sleep(50);
  const stopped = stop();
  await sleep(50);
  const told = [fresh, kept].map((client) => once(client, 'data').then(String));
  for (const client of [fresh, kept]) client.write('st: a\r\n\r\n');
  for (const answer of await Promise.all(told)) expect(answer).toMatch(/\r\nConnection: close\r\n/i);
  for (const client of [fresh, kept]) if (!client.closed) await once(client, 'close');
  expect(new Set(held.map(({ request }) => request.url))).toEqual(new Set(['/first', '/fresh', '/kept']));
  expect(await stopped).toBeLessThan(graceMs / 2);
});

test('an empty line behind a message keeps no connection', async () => {
  await open(({ response }) => void response.end('1'));
  const client = await dial(get('/'));
  await once(client, 'data');
  client.write('\r\n');
  await sleep(50);
  expect(await stop()).toBeLessThan(graceMs / 2);
});

test('an answer that is owed tells its client to send no other request behind it', async () => {
  const held: Arrival[] = [];
  await open((arrival) => void held.push(arrival));
  const client = await dial(get('/'));
  await eventually('it came', () => held.length === 1);
  const stopped = stop();
  held[0]!.response.end('1');
  let text = '';
  client.on('data', (chunk: Buffer) => void (text += chunk.toString()));
  await once(client, 'close');
  await stopped;
  expect(text).toMatch(/\r\nConnection: close\r\n/i);
});

test('a request behind an answer that was begun before the stop is answered too: its client was told that the connection stays', async () => {
  const held: Arrival[] = [];
  await open((arrival) => {
    held.push(arrival);
    if (held.length === 1) arrival.response.write('1');
    else arrival.response.end('2');
  });
  const client = await dial(get('/begun'));
  let text = '';
  client.on('data', (chunk: Buffer) => void (text += chunk.toString()));
  await eventually('its head is there', () => text.includes('\r\n\r\n'));
  const stopped = stop();
  // Longer than what idle connections get when the stop begins.
  await sleep(500);
  held[0]!.response.end();
  await eventually('it is answered', () => text.includes('0\r\n\r\n'));
  client.write(get('/behind'));
  await once(client, 'close');
  expect(text).toMatch(/\r\nConnection: close\r\n[^]*2$/i);
  expect(await stopped).toBeLessThan(graceMs / 2);
});

/** As a loop that has much to do, and reads late what came in time. */
function standStill(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

test.each(['before', 'behind'])(
  'what came in time on a connection that was idle %s the stop is answered, although it is read late',
  async (since) => {
    const held: Arrival[] = [];
    await open((arrival) => {
      if (arrival.request.url === '/held') held.push(arrival);
      arrival.response.write('1');
      if (arrival.request.url !== '/held') arrival.response.end();
    });
    const client = await dial(get(since === 'before' ? '/' : '/held'));
    let text = '';
    client.on('data', (chunk: Buffer) => void (text += chunk.toString()));
    await eventually('its head is there', () => text.includes('\r\n\r\n'));
    await sleep(100);
    const stopped = stop();
    if (since === 'behind') {
      await sleep(400);
      held[0]!.response.end();
    }
    await sleep(100);
    // Behind what was read in this turn, as its work is.
    await nextTurn();
    client.write(get('/late'));
    standStill(400);
    await once(client, 'close');
    expect(text.match(/HTTP\/1\.1 200 OK\r\n/g)).toHaveLength(2);
    expect(await stopped).toBeLessThan(graceMs / 2);
  },
);
