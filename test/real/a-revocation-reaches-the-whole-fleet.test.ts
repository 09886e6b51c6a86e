import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSource } from '../repo/sources.ts';
import { readRecord } from '../stage/event-record.ts';
import { openFleetStage, type FleetStage } from '../stage/fleet.ts';
import { removeFolder, type StagedTask } from '../stage/sidecar-process.ts';
import { findRedis, findValkey, startStore, type StoreProcess } from '../stage/valkey.ts';

const replicas = [0, 1, 2] as const;
const stores: StoreProcess[] = [];
const fleets: FleetStage[] = [];
const folders: string[] = [];
const password = 'password-of-the-store-0123456789';
const found: Record<string, string | undefined> = {};

beforeAll(async () => {
  found['valkey'] = await findValkey();
  found['redis'] = await findRedis();
});
afterAll(async () => {
  for (const fleet of fleets) await fleet.close();
  for (const store of stores) await store.close();
  for (const folder of folders) removeFolder(folder);
});

async function open(name: string): Promise<FleetStage | undefined> {
  const server = found[name];
  if (server === undefined) return undefined;
  const store = await startStore(server);
  stores.push(store);
  // All that a sidecar needs there; the page that tells it is decisions/0029.
  const page = readSource('decisions/0029-a-fleet-shares-what-was-revoked.md');
  const rights = /`ACL SETUSER waybill on (.*?)`/.exec(page)?.[1]?.split(' ') ?? [];
  expect(await store.say('ACL', 'SETUSER', 'waybill', 'on', `>${password}`, ...rights)).toBe('+OK\r\n');
  const dir = mkdtempSync(join(tmpdir(), 'waybill-password-'));
  folders.push(dir);
  writeFileSync(join(dir, 'password'), password);
  const fleet = await openFleetStage(3, {
    store: `valkey://127.0.0.1:${store.port}`,
    username: 'waybill',
    password_file: join(dir, 'password'),
  });
  fleets.push(fleet);
  await fleet.ready();
  return fleet;
}

/** Milliseconds from the answer of the operator's API until every stream of these tasks is cut. */
async function timeToCut(fleet: FleetStage, from: number, what: Record<string, unknown>, tasks: readonly StagedTask[]) {
  const streams = await Promise.all(tasks.map((task, at) => fleet.stream(at, task)));
  const startedAt = performance.now();
  const answer = await fleet.revoke(from, what);
  expect(answer).toMatchObject({ status: 200, body: { fleet: 'stored' } });
  const ends = await Promise.all(streams.map((wire) => wire.untilClosed()));
  return Math.max(...ends) - startedAt;
}

test.for(['valkey', 'redis'])(
  'every kind of revocation is in force on three sidecars within two seconds (%s)',
  async (name, context) => {
    const fleet = await open(name);
    if (fleet === undefined) {
      context.skip(`${name} cannot be had here`);
      return;
    }
    const { service } = fleet;
    const times: number[] = [];
    for (let round = 0; round < 8; round += 1) {
      const from = round % 3;
      for (const [kind, what] of [
        ['subject', (sub: string) => ({ subject: { iss: service.issuer, sub } })],
        ['agent', () => ({ agent: 'spiffe://example.org/planner' })],
        ['tool', () => ({ tool: 'crm' })],
        ['all', () => ({ all: true })],
      ] as const) {
        // `iat` has whole seconds: what was issued in the second of a revocation counts as before.
        await sleep(1100);
        const sub = `user-${round}-${kind}`;
        const act = kind === 'agent' ? { act: { sub: 'spiffe://example.org/planner' } } : {};
        const old = await service.subjectToken({ sub, ...act });
        const tasks: StagedTask[] = [];
        for (const at of replicas) tasks.push(await fleet.replicas[at]!.task(sub, { subject_token: old }));
        for (const at of replicas) expect((await fleet.use(at, tasks[at]!)).status).toBe(200);
        const asked = service.counts.token;
        times.push(await timeToCut(fleet, from, what(sub), tasks));
        const codes = await Promise.all(replicas.map(async (at) => (await fleet.use(at, tasks[at]!)).code));
        expect(codes).toEqual(replicas.map(() => (kind === 'tool' ? 'grant_dead' : 'handle_ended')));
        // Neither from the cache nor anew; and the token that the user has opens nothing anywhere.
        expect(service.counts.token).toBe(asked);
        if (kind === 'tool') continue;
        for (const at of replicas)
          await expect(fleet.replicas[at]!.task(sub, { subject_token: old })).rejects.toThrow('subject_revoked');
      }
    }
    times.sort((a, b) => a - b);
    console.log(
      `${name}: ${times.length} revocations on 3 sidecars: p50 ${Math.round(times[times.length >> 1] ?? 0)} ms, p100 ${Math.round(times.at(-1) ?? 0)} ms`,
    );
    expect(times.at(-1)).toBeLessThan(2000);
    for (const { sidecar } of fleet.replicas) {
      const events = readRecord(sidecar.eventsFile).filter(({ event }) => event === 'principal.revoked');
      expect(new Set(events.map(({ by }) => by))).toEqual(new Set(['operator_api', 'fleet']));
      expect(events.length).toBe(32);
      expect(await sidecar.metric('waybill_fleet_fresh')).toBe(1);
    }
  },
);
