import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore, type FakeStore } from '../fakes/store.ts';
import { openFleetStage, type FleetStage } from '../stage/fleet.ts';

let store: FakeStore;
let fleet: FleetStage;

beforeEach(async () => {
  store = await openFakeStore();
});
afterEach(async () => {
  await fleet.close();
  await store.close();
});

test.for([0, 1])(
  'W1: a store that is full, with %d replicas, is heard; what it does not take is pending until it does',
  async (replicas) => {
    store.replicas = replicas;
    fleet = await openFleetStage(2, { store: `valkey://127.0.0.1:${store.port}`, replicas });
    await fleet.ready();
    const [first, second] = [fleet.replicas[0]!, fleet.replicas[1]!];
    const others = [await first.task('bob'), await second.task('bob')];
    const alice = [await first.task('alice'), await second.task('alice')];
    store.isFull = true;
    const answer = await fleet.revoke(0, { subject: { iss: fleet.service.issuer, sub: 'alice' } });
    expect(answer).toMatchObject({ status: 200, body: { tasks: 1, fleet: 'pending' } });
    // Longer than a sidecar serves by what it heard before.
    await sleep(3000);
    for (const at of [0, 1]) expect((await fleet.use(at, others[at]!)).status).toBe(200);
    expect((await fleet.use(0, alice[0]!)).code).toBe('handle_ended');
    const told = first.sidecar
      .output()
      .split('\n')
      .filter((line) => line.includes('"OOM"'));
    expect(told.length).toBe(1);
    expect(told[0]).toContain('refuses what was revoked');
    expect(second.sidecar.output()).not.toContain('does not answer');
    store.isFull = false;
    const code = async () => (await fleet.use(1, alice[1]!).catch(() => undefined))?.code;
    await eventually('the other has heard of it', async () => (await code()) === 'handle_ended');
    expect((await fleet.revoke(0, { tool: 'crm' })).body).toMatchObject({ fleet: 'stored' });
  },
);

test.for([0, 1])('W1: nor does one, with %d replicas, stop a fleet that starts, or that was away', async (replicas) => {
  // Nothing is left in it of earlier signs of life.
  store.replicas = replicas;
  store.isFull = true;
  fleet = await openFleetStage(1, { store: `valkey://127.0.0.1:${store.port}`, replicas });
  await fleet.ready();
  const bob = await fleet.replicas[0]!.task('bob');
  await sleep(3000);
  expect((await fleet.use(0, bob)).status).toBe(200);
});

test('W1: while one that is full and has lost its replicas, or is part of a cluster, says nothing', async () => {
  store.replicas = 1;
  fleet = await openFleetStage(1, { store: `valkey://127.0.0.1:${store.port}`, replicas: 1 });
  await fleet.ready();
  const bob = await fleet.replicas[0]!.task('bob');
  // A call that is under way at that moment is cut off.
  const status = async () => (await fleet.use(0, bob).catch(() => undefined))?.status;
  store.isFull = true;
  store.replicas = 0;
  await eventually('nothing passes', async () => (await status()) === 503, 10_000);
  store.replicas = 1;
  await eventually('calls pass again', async () => (await status()) === 200, 10_000);
  // There WAIT counts replicas that took nothing.
  store.mode = 'cluster';
  await eventually('nothing passes', async () => (await status()) === 503, 10_000);
});
