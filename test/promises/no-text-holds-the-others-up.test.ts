import { createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listenOnFreePort } from '../stage/free-port.ts';
import { basic, exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { tries } from '../stage/tries.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** Far more than any of these takes, and far less than the second for which each of them stopped everything once. */
const shortMs = 300;
const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

let tool: Server;
let stage: Stage;
let wayIn: WayInStage;
let task: StagedTask;
/** What the tool asks for. */
let challenge = '';

beforeAll(async () => {
  tool = createServer((socket: Socket) => {
    socket
      .on('error', () => undefined)
      .on('data', () => {
        const lines = ['HTTP/1.1 401 No', 'DPoP-Nonce: abc', `WWW-Authenticate: ${challenge}`, 'Content-Length: 2'];
        socket.write(`${lines.join('\r\n')}\r\n\r\nno`);
      });
  });
  const port = await listenOnFreePort(tool);
  [stage, wayIn] = await Promise.all([
    openStage({ tools: { crm: { port }, plain: { port, token: false } } }),
    openWayIn(),
  ]);
  task = await stage.task();
});
afterAll(async () => {
  await Promise.all([stage?.close(), wayIn?.close()]);
  tool.close();
});

async function timed(send: () => Promise<RawAnswer>): Promise<{ readonly status: number; readonly ms: number }> {
  const startedAt = performance.now();
  const { status } = await send();
  return { status, ms: performance.now() - startedAt };
}

function out(path: string, host: string, headers: Record<string, string> = {}): Promise<RawAnswer> {
  const { outbound } = stage.sidecar.addresses;
  return exchangeRaw(outbound, requestBytes('GET', `http://${host}${path}`, { Host: host, ...headers }), 30_000);
}

function inward(path: string, headers: Record<string, string> = {}): Promise<RawAnswer> {
  const { host } = new URL(wayIn.origin);
  const request = requestBytes('GET', path, { Host: host, ...headers });
  return exchangeRaw(wayIn.sidecar.addresses.inbound ?? '', request, 30_000);
}

const path = `/${'ey'.repeat(15_000)}`;
const state = { traceparent: trace, tracestate: `a=1${' '.repeat(30_000)}b` };

test.for<readonly [string, () => Promise<RawAnswer>, number]>([
  ['a path that begins a token again and again', () => out(path, 'plain.test'), 401],
  ['the same of a tool with a credential', () => out(path, 'crm.test'), 407],
  ['the same on the way in, of nobody', () => inward(path), 401],
  ['a tracestate of spaces', () => out('/x', 'plain.test', state), 401],
  ['the same on the way in', () => inward('/x', state), 401],
])('W1: %s is read in no time', tries, async ([, send, status]) => {
  const came = await timed(send);
  expect(came.status).toBe(status);
  expect(came.ms).toBeLessThan(shortMs);
});

test('W1: a challenge that a tool makes long is read in no time', tries, async () => {
  challenge = 'dpop '.repeat(11_000);
  const came = await timed(() => out('/x', 'crm.test', { 'Proxy-Authorization': basic(task.handle) }));
  challenge = '';
  expect(came.status).toBeGreaterThanOrEqual(400);
  expect(came.ms).toBeLessThan(shortMs);
});
