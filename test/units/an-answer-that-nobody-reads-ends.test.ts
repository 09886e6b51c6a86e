import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { listenOnFreePort } from '../stage/free-port.ts';
import { dial, requestBytes } from '../stage/raw-call.ts';
import { openInProcess, type InProcess } from '../stage/sidecar-in-process.ts';

const unreadMs = 300_000;
const bodyBytes = 64 * 1024 * 1024;
let tool: ReturnType<typeof createServer>;
/** Calls that the tool lost before their answer was whole. */
let lost: string[];
let inside: InProcess;
let client: Socket;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  // Those of the test before are told late.
  const mine: string[] = (lost = []);
  tool = createServer((asked, response) => {
    response.once('close', () => response.writableFinished || mine.push(asked.url ?? ''));
    response.writeHead(200, { 'content-length': bodyBytes });
    if (asked.url === '/endless') response.write('first');
    else response.end(Buffer.alloc(bodyBytes));
  });
  const port = await listenOnFreePort(tool);
  inside = await openInProcess({ tools: { open: { match: { host: 'open.test' }, dial: `127.0.0.1:${port}` } } });
  client = dial(inside.outbound);
});
afterEach(async () => {
  client.destroy();
  tool.closeAllConnections();
  tool.close();
  await inside.close();
  vi.useRealTimers();
});

const ask = (path: string): boolean =>
  client.write(requestBytes('GET', `http://open.test${path}`, { Host: 'open.test' }));
/** Time for what is on its way to be taken. */
const settle = (): Promise<void> => sleep(200);

test('a client that reads nothing is cut after its time and not before', async () => {
  client.pause();
  ask('/long');
  await settle();
  vi.advanceTimersByTime(unreadMs);
  await settle();
  expect(lost).toEqual([]);
  await eventually('the tool knows it', () => {
    // On a busy machine something of it may still have been taken a moment ago.
    vi.advanceTimersByTime(10_000);
    return lost.length === 1;
  });
});

test('one that reads a little now and then goes on', async () => {
  client.pause();
  ask('/long');
  await settle();
  for (let round = 0; round < 3; round += 1) {
    vi.advanceTimersByTime(unreadMs - 20_000);
    client.resume();
    await sleep(20);
    client.pause();
    await settle();
  }
  expect([lost, client.destroyed]).toEqual([[], false]);
});

test('one that reads some kilobytes at a time goes on, though the system hands over much more at once', async () => {
  client.pause();
  ask('/long');
  await settle();
  let bytes = 0;
  for (let at = 0; at < 2 * unreadMs; at += 10_000) {
    bytes += (client.read(10_000) as Buffer | null)?.length ?? 0;
    await sleep(5);
    vi.advanceTimersByTime(10_000);
  }
  await settle();
  expect(bytes).toBeGreaterThan(200_000);
  expect([lost, client.destroyed]).toEqual([[], false]);
});

test('one that waits for a tool goes on for as long as that takes', async () => {
  ask('/endless');
  await settle();
  vi.advanceTimersByTime(10 * unreadMs);
  await settle();
  expect([lost, client.destroyed]).toEqual([[], false]);
});
