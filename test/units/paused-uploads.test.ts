import { IncomingMessage } from 'node:http';
import { createServer, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { leftPaused, watchPaused } from '../../proxy/intercept/paused-uploads.ts';
import { departures } from '../../proxy/tasks/other-end.ts';
import { listenOnFreePort } from '../stage/free-port.ts';

const stalledMs = 300_000;
const server = createServer();
let accepted: Socket;
let asked: IncomingMessage;
let dialled: Socket;

beforeEach(async () => {
  const port = await listenOnFreePort(server);
  const coming = new Promise<Socket>((resolve) => server.once('connection', resolve));
  dialled = connect(port, '127.0.0.1');
  accepted = await coming;
  asked = new IncomingMessage(accepted);
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  leftPaused(asked);
  vi.useRealTimers();
  dialled.destroy();
  accepted.destroy();
  server.close();
});

test('an upload that nobody takes is told so once, after its time and not before', () => {
  const onStalled = vi.fn();
  watchPaused(asked, stalledMs, onStalled);
  vi.advanceTimersByTime(stalledMs - 2000);
  expect(onStalled).not.toHaveBeenCalled();
  vi.advanceTimersByTime(stalledMs);
  expect([onStalled.mock.calls.length, accepted.destroyed]).toEqual([1, false]);
});

test('one that goes on has as much time again, and nobody looks while none is paused', () => {
  const onStalled = vi.fn();
  for (let count = 0; count < 5; count += 1) {
    watchPaused(asked, stalledMs, onStalled);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(stalledMs - 2000);
    leftPaused(asked);
    expect(vi.getTimerCount()).toBe(0);
  }
  expect(onStalled).not.toHaveBeenCalled();
});

test('who has left is gone after the second look', async () => {
  watchPaused(asked, stalledMs, () => undefined);
  const closed = new Promise((resolve) => dialled.once('close', resolve));
  dialled.destroy();
  await closed;
  vi.advanceTimersByTime(2000);
  expect(accepted.destroyed).toBe(false);
  vi.advanceTimersByTime(2000);
  expect([accepted.destroyed, vi.getTimerCount()]).toEqual([true, 0]);
});

test('a table without what is certainly there proves nothing', () => {
  // Nobody listens at this port, as far as the table knows.
  const [peer, own] = [9, 1].map((port) => ({ address: '127.0.0.1', port }));
  expect(departures()({ peer: peer!, own: own! })).toBe(false);
});
