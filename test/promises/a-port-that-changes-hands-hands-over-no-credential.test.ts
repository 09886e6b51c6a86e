import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { exchangeAs, mayBeOthers } from '../stage/foreign-caller.ts';
import { type ForeignListener, type ForeignListenerOptions, openForeignListener } from '../stage/foreign-listener.ts';
import { basic, requestBytes } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

if (!mayBeOthers) console.log('skipped: calling as another user needs root');
/** The user of the agent, and those of tools beside it. */
const [agent, neighbour, another] = [4242, 4243, 4244];
/** Longer than it is believed who listens at a port. */
const forgottenMs = 1100;
let stage: Stage;
let task: StagedTask;
const open: ForeignListener[] = [];

beforeAll(async () => {
  if (!mayBeOthers) return;
  const at = (host: string) => ({ port: 1, host, more: { dial: undefined, addresses: ['loopback'] } });
  stage = await openStage({ tools: { near: at('localhost'), six: at('::1') } });
  task = await stage.task();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((listener) => listener.close()));
});
afterAll(async () => {
  await stage?.close();
});

async function listen(uid: number, host: string, options: ForeignListenerOptions = {}): Promise<ForeignListener> {
  const listener = await openForeignListener(uid, host, options);
  open.push(listener);
  return listener;
}

/** Status and code of a call. */
function call(host: string, port: number, uid = agent): Promise<string> {
  const authority = `${host}:${port}`;
  const headers = { Host: authority, 'Proxy-Authorization': basic(task.handle) };
  return exchangeAs(uid, stage.sidecar.addresses.outbound, requestBytes('GET', `http://${authority}/x`, headers));
}

describe.runIf(mayBeOthers)('W3: where the configuration names no port of a tool on loopback', () => {
  test.each([
    ['127.0.0.1', 'localhost', 0],
    ['0.0.0.0', 'localhost', 0],
    ['::', 'localhost', 0],
    ['::1', '[::1]', 0],
    // Nothing is accepted when the connection is there: nobody has that end yet but who listens.
    ['127.0.0.1', 'localhost', 1500],
    ['::', 'localhost', 1500],
    ['::1', '[::1]', 1500],
  ])('an agent that takes the port of a neighbour, at %s, gets nothing by a call of %s', async (at, host, busyMs) => {
    const before = await listen(neighbour, at);
    expect((await call(host, before.port)).slice(0, 3)).toBe('200');
    await before.kill();
    const own = await listen(agent, at, { port: before.port, busyMs });
    expect(await call(host, before.port)).toBe('403 address_forbidden');
    await sleep(busyMs);
    expect(own.seen).toEqual([]);
  });

  test.each([
    ['127.0.0.1', 'localhost'],
    ['::1', '[::1]'],
  ])('nor by a connection that it keeps from the call of another, at %s', async (at, host) => {
    const own = await listen(agent, at);
    expect((await call(host, own.port, another)).slice(0, 3)).toBe('200');
    await own.release();
    const other = await listen(neighbour, at, { port: own.port });
    await sleep(forgottenMs);
    expect((await call(host, own.port)).slice(0, 3)).toBe('200');
    expect([own.seen.length, other.seen]).toEqual([1, [expect.stringMatching(/^Bearer ey/)]]);
    // The way back is open: what was opened for the one is used again for the other.
    expect((await call(host, own.port, another)).slice(0, 3)).toBe('200');
    expect([own.seen.length, other.seen.length]).toEqual([1, 2]);
  });

  test('a tool that comes back at its port, or another user’s in its place, is called at once', async () => {
    const before = await listen(neighbour, '127.0.0.1');
    const { port } = before;
    expect((await call('localhost', port)).slice(0, 3)).toBe('200');
    await before.kill();
    // It listens, and is still busy.
    const again = await listen(neighbour, '127.0.0.1', { port, busyMs: 300 });
    expect((await call('localhost', port)).slice(0, 3)).toBe('200');
    await again.kill();
    const other = await listen(another, '127.0.0.1', { port });
    expect((await call('localhost', port)).slice(0, 3)).toBe('200');
    expect([again, other].map(({ seen }) => seen.length)).toEqual([1, 1]);
  });
});
