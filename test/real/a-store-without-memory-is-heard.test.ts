import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFleetStage } from '../stage/fleet.ts';
import { findRedis, findValkey, startStore } from '../stage/valkey.ts';

test.for([
  ['Valkey', findValkey],
  ['Redis', findRedis],
] as const)(
  'W1: %s at its `maxmemory` stops nobody, and takes what was revoked when it has room',
  async ([name, find], { skip }) => {
    const server = await find();
    if (server === undefined) {
      skip(`there is no ${name} here`);
      return;
    }
    const store = await startStore(server);
    const replica = await startStore(server, ['--replicaof', '127.0.0.1', String(store.port)]);
    const fleet = await openFleetStage(2, { store: `valkey://127.0.0.1:${store.port}`, replicas: 1 });
    const limit = (bytes: string) => store.say('CONFIG', 'SET', 'maxmemory', bytes);
    try {
      await fleet.ready();
      const [bob, alice] = [await fleet.replicas[0]!.task('bob'), await fleet.replicas[1]!.task('alice')];
      expect(await limit('1')).toContain('OK');
      const subject = { iss: fleet.service.issuer, sub: 'alice' };
      expect((await fleet.revoke(0, { subject })).body).toMatchObject({ fleet: 'pending' });
      await sleep(4000);
      expect((await fleet.use(0, bob)).status).toBe(200);
      expect(fleet.replicas[0]!.sidecar.output()).toContain('"OOM"');
      expect(await limit('0')).toContain('OK');
      const code = async () => (await fleet.use(1, alice).catch(() => undefined))?.code;
      await eventually('the other has heard of it', async () => (await code()) === 'handle_ended');
      // A master that has lost its replica says nothing, full or not.
      expect(await limit('1')).toContain('OK');
      replica.pause();
      // A call that is under way when the store falls silent is cut off.
      const served = async () => (await fleet.use(0, bob).catch(() => undefined))?.status;
      await eventually('nothing passes', async () => (await served()) === 503, 10_000);
    } finally {
      await fleet.close();
      await replica.close();
      await store.close();
    }
  },
);

test.for([
  ['Valkey', findValkey],
  ['Redis', findRedis],
] as const)(
  'W1: %s that was at its `maxmemory` before the fleet starts is heard, and only with its replica',
  async ([name, find], { skip }) => {
    const server = await find();
    if (server === undefined) {
      skip(`there is no ${name} here`);
      return;
    }
    const store = await startStore(server);
    const replica = await startStore(server, ['--replicaof', '127.0.0.1', String(store.port)]);
    const isThere = async () => (await store.say('INFO', 'replication')).includes('state=online');
    await eventually('the replica', isThere, 10_000);
    expect(await store.say('CONFIG', 'SET', 'maxmemory', '1')).toContain('OK');
    const fleet = await openFleetStage(1, { store: `valkey://127.0.0.1:${store.port}`, replicas: 1 });
    try {
      await fleet.ready();
      const bob = await fleet.replicas[0]!.task('bob');
      await sleep(4000);
      // A call that is under way when the store falls silent is cut off.
      const served = async () => (await fleet.use(0, bob).catch(() => undefined))?.status;
      expect(await served()).toBe(200);
      replica.pause();
      await eventually('nothing passes', async () => (await served()) === 503, 10_000);
    } finally {
      await fleet.close();
      await replica.close();
      await store.close();
    }
  },
);
