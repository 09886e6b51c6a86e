import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from '../stage/free-port.ts';
import { basic, dial, requestBytes } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let stage: Stage;

beforeAll(async () => {
  // Calls get as far as their tool, where nobody listens: 10,000 connections more would say nothing about tokens.
  // A long time-out, since this machine may be busy with the crowd for longer than the usual one.
  stage = await openStage({ tools: { crowd: { port: await freePort() } }, corp: { timeout: '20s' } });
});
afterAll(() => stage?.close());

test('W4: 10,000 calls at once that need one token make one exchange', { timeout: 60_000 }, async () => {
  const { service } = stage;
  const { handle } = await stage.task();
  const sockets = Array.from({ length: 500 }, () => dial(stage.sidecar.addresses.outbound));
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  const headers = { Host: 'crowd.test', 'Proxy-Authorization': basic(handle) };
  const twenty = Buffer.concat(Array.from({ length: 20 }, () => requestBytes('GET', 'http://crowd.test/', headers)));
  service.delayMs = 500;
  const statuses = await Promise.all(sockets.map((socket) => readStatuses(socket, twenty, 20)));
  service.delayMs = 0;
  expect([statuses.flat().length, new Set(statuses.flat())]).toEqual([10_000, new Set(['502'])]);
  expect(service.counts.token).toBe(1);
});

/** Sends requests in a row, without waiting, and reads the status of each answer. */
async function readStatuses(socket: Socket, requests: Buffer, count: number): Promise<readonly string[]> {
  socket.write(requests);
  let read = '';
  for await (const chunk of socket) {
    read += String(chunk);
    const statuses = [...read.matchAll(/HTTP\/1\.1 (\d{3})[^]*?\r\n\r\n\{/g)].map(([, status = '']) => status);
    if (statuses.length === count) return statuses;
  }
  throw new Error(`the connection was closed: ${read.slice(-300)}`);
}
