import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dialing } from '../../proxy/world.ts';

let server: Server;
let port: number;
let passedMs = 0;

beforeAll(async () => {
  server = createServer((socket) => socket.on('error', () => undefined).resume());
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => server.close());

/** The addresses that one connection dialled, in their order. */
async function dialled(
  dial: ReturnType<typeof dialing>,
  first: string,
  ...others: readonly string[]
): Promise<readonly string[]> {
  const seen: string[] = [];
  const socket = dial(first, port, others);
  socket.on('connectionAttempt', (address) => seen.push(address));
  await new Promise((done) => socket.once('connect', done).once('error', done));
  socket.destroy();
  return seen;
}

test('of several addresses, one that did not answer is dialled last for half a minute, and is not left out', async () => {
  const dial = dialing(() => passedMs);
  const [dead, live] = ['127.0.0.3', '127.0.0.1'];
  expect(await dialled(dial, dead, live)).toEqual([dead, live]);
  expect(await dialled(dial, dead, live)).toEqual([live]);
  expect(await dialled(dial, dead, '127.0.0.4')).toEqual(['127.0.0.4', dead]);
  passedMs += 31_000;
  expect(await dialled(dial, dead, live)).toEqual([dead, live]);
});

test('where none of them answered, they are dialled as the name has them', async () => {
  const dial = dialing(() => passedMs);
  const dead = ['127.0.0.5', '127.0.0.6'] as const;
  expect(await dialled(dial, ...dead)).toEqual(dead);
  expect(await dialled(dial, ...dead)).toEqual(dead);
});
