import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore, type FakeStore } from '../fakes/store.ts';
import { openFleetStage, type FleetStage } from '../stage/fleet.ts';
import { listenOnFreePort } from '../stage/free-port.ts';

let store: FakeStore;
let fleet: FleetStage | undefined;
let isOdd: boolean;

beforeEach(async () => {
  store = await openFakeStore();
  isOdd = false;
});
afterEach(async () => {
  await fleet?.close();
  await store.close();
});

/** What the log says of the store, but that it is silent or is heard again. */
const troubles = (): string[] =>
  fleet!.replicas[0]!.sidecar.output()
    .split('\n')
    .filter((line) => line.includes('the store of the fleet does not answer'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .map(({ reason, code }) => String(reason ?? code));

test('also where two sentinels fail, each in its own way, and anew after it was well', async () => {
  const knowing = createServer((socket) => {
    socket.on('error', () => undefined);
    const place = `*2\r\n$9\r\n127.0.0.1\r\n$${String(store.port).length}\r\n${store.port}\r\n`;
    socket.on('data', () => socket.write(isOdd ? 'HTTP/1.1 400 Bad Request\r\n\r\n' : place));
  });
  const silent = createServer((socket) => void socket.on('error', () => undefined));
  const sentinels = [await listenOnFreePort(silent), await listenOnFreePort(knowing)];
  isOdd = true;
  fleet = await openFleetStage(1, { sentinels: sentinels.map((port) => `127.0.0.1:${port}`), master_name: 'main' });
  const each = ['it does not answer in time', 'its answer cannot be read'];
  await eventually('both are told', () => each.every((one) => troubles().includes(one)));
  await sleep(1500);
  expect(troubles().toSorted()).toEqual(each);
  isOdd = false;
  await fleet.ready();
  isOdd = true;
  store.wipe();
  await eventually('one is told anew', () => troubles().filter((one) => each.includes(one)).length > 2);
  for (const server of [knowing, silent]) server.close();
});
