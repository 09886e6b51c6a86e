import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore, type FakeStore } from '../fakes/store.ts';
import { runWaybill } from '../stage/command-line.ts';
import { readRecord } from '../stage/event-record.ts';
import { openFleetStage, type FleetStage } from '../stage/fleet.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

const cutOffs = 'waybill:revoked:cut-offs';
let store: FakeStore;
let fleet: FleetStage | undefined;

beforeEach(async () => {
  store = await openFakeStore();
});
afterEach(async () => {
  await fleet?.close();
  fleet = undefined;
  await store.close();
});

async function open(count: number, more: Record<string, unknown> = {}): Promise<FleetStage> {
  fleet = await openFleetStage(count, { store: `valkey://127.0.0.1:${store.port}`, ...more });
  return fleet;
}
const isReady = async ({ replicas }: FleetStage, at = 0): Promise<string> =>
  (await fetch(`http://${replicas[at]?.sidecar.addresses.health}/readyz`)).text();

describe('W1: while the store is silent nothing passes that could have been revoked', () => {
  test('from the start, until it has said what was revoked', async () => {
    store.hang();
    const { replicas, service, ...stage } = await open(1);
    const { sidecar } = replicas[0]!;
    expect(await isReady(fleet!)).toContain('the store of the fleet does not say what was revoked');
    const token = await service.subjectToken({ sub: 'alice' });
    const opening = await callOperator(sidecar.addresses.socket, 'POST', '/v1/tasks', { subject_token: token });
    expect(opening).toMatchObject({ status: 503, body: { code: 'fleet_unavailable' } });
    expect((await stage.use(0, { handle: '' }, 'open')).status).toBe(200);
    expect(await sidecar.metric('waybill_fleet_fresh')).toBe(0);
    store.answer();
    await stage.ready();
    const task = await replicas[0]!.task('alice');
    expect((await stage.use(0, task)).status).toBe(200);
    expect(await sidecar.metric('waybill_fleet_fresh')).toBe(1);
  });

  test('after max_silence: calls and streams with a credential, from the cache too; others go on', async () => {
    const stage = await open(1);
    await stage.ready();
    const { sidecar } = stage.replicas[0]!;
    const task = await stage.replicas[0]!.task('alice');
    expect((await stage.use(0, task)).status).toBe(200);
    const [cut, kept] = [await stage.stream(0, task), await stage.stream(0, task, 'open')];
    const [seen, asked] = [stage.tool.seen.length, stage.service.counts.token];
    const silentAt = performance.now();
    store.hang();
    const lastedMs = (await cut.untilClosed()) - silentAt;
    expect(lastedMs).toBeGreaterThan(1500);
    expect(lastedMs).toBeLessThan(2300);
    for (const tool of ['crm', 'files']) {
      const answer = await stage.use(0, task, tool);
      expect([answer.status, answer.code, answer.headers['retry-after']]).toEqual([503, 'fleet_unavailable', '1']);
      expect(JSON.parse(answer.body)).toMatchObject({ retryable: true });
    }
    expect([stage.tool.seen.length, stage.service.counts.token]).toEqual([seen, asked]);
    expect((await stage.use(0, task, 'open')).status).toBe(200);
    expect(kept.closedAt).toBeUndefined();
    kept.socket.destroy();
    store.answer();
    await stage.ready();
    expect((await stage.use(0, task)).status).toBe(200);
    expect(await sidecar.metric('waybill_refusals_total{way="out",stage="exchange",code="fleet_unavailable"}')).toBe(2);
  });

  test('on the way in nothing is spent for a request that is refused', async () => {
    const section = { store: `valkey://127.0.0.1:${store.port}` };
    const stage = await openWayIn({ sections: { fleet: section } });
    try {
      const { health } = stage.sidecar.addresses;
      await eventually('ready', async () => (await fetch(`http://${health}/readyz`)).ok, 10_000);
      const caller = await stage.caller();
      expect((await caller.call({ path: '/x' })).status).toBe(200);
      const [proof, seen] = [caller.proofFor({ path: '/y' }), stage.program.seen.length];
      store.hang();
      await eventually('not ready', async () => !(await fetch(`http://${health}/readyz`)).ok);
      const refused = await caller.send({ path: '/y', proof });
      expect([refused.status, refused.code, stage.program.seen.length]).toEqual([503, 'fleet_unavailable', seen]);
      store.answer();
      await eventually('ready', async () => (await fetch(`http://${health}/readyz`)).ok, 10_000);
      expect((await caller.send({ path: '/y', proof })).status).toBe(200);
    } finally {
      await stage.close();
    }
  });

  test('a store that is no master any more, or without the replicas that are asked for, says nothing', async () => {
    store.replicas = 1;
    const stage = await open(1, { replicas: 1 });
    await stage.ready();
    store.replicas = 0;
    await eventually('not ready', async () => (await isReady(stage)).includes('fleet'));
    store.replicas = 1;
    await stage.ready();
    store.role = 'slave';
    await eventually('not ready', async () => (await isReady(stage)).includes('fleet'));
    expect(stage.replicas[0]?.sidecar.output()).toContain('it is not the master');
  });

  test('unsafe_serve_without_store goes on, and says so', async () => {
    store.hang();
    const stage = await open(1, { unsafe_serve_without_store: true });
    const task = await stage.replicas[0]!.task('alice');
    const stream = await stage.stream(0, task);
    await sleep(2500);
    expect([(await stage.use(0, task)).status, stream.closedAt]).toEqual([200, undefined]);
    stream.socket.destroy();
    const { sidecar } = stage.replicas[0]!;
    expect(await sidecar.metric('waybill_unsafe_settings{setting="fleet.unsafe_serve_without_store"}')).toBe(1);
    expect(await sidecar.metric('waybill_fleet_fresh')).toBe(0);
    expect(await isReady(stage)).toContain('"ok"');
  });
});

describe('W11: what is revoked at one sidecar is revoked at all', () => {
  test('at once, for a sidecar that starts later without its own file, and for a store that forgot it', async () => {
    const stage = await open(2);
    await stage.ready();
    const { issuer } = stage.service;
    const old = await stage.service.subjectToken({ sub: 'alice' });
    const task = await stage.replicas[1]!.task('alice');
    const stream = await stage.stream(1, task);
    const answer = await stage.revoke(0, { subject: { iss: issuer, sub: 'alice' }, reason: 'laptop stolen' });
    expect(answer).toEqual({ status: 200, body: { tasks: 0, credentials: 0, fleet: 'stored' } });
    await stream.untilClosed(1000);
    expect((await stage.use(1, task)).code).toBe('handle_ended');
    const second = stage.replicas[1]!;
    const events = readRecord(second.sidecar.eventsFile).filter(({ event }) => event === 'principal.revoked');
    expect(events).toMatchObject([
      { principal: { kind: 'subject', sub: 'alice' }, by: 'fleet', tasks: 1, credentials: 1 },
    ]);
    expect(await second.sidecar.metric('waybill_fleet_revocations_total{direction="taken"}')).toBe(1);
    await second.sidecar.kill();
    rmSync(join(second.dir, 'revocations.json'));
    store.wipe();
    await second.restart();
    await stage.ready();
    await expect(second.task('alice', { subject_token: old })).rejects.toThrow('subject_revoked');
    expect([...(store.sets.get(cutOffs) ?? [])].length).toBe(1);
    // Who signs in again is served again, wherever the news went twice.
    await sleep(1100);
    const anew = await second.task('alice');
    store.wipe();
    await eventually('the store knows it again', () => (store.sets.get(cutOffs)?.size ?? 0) === 1);
    await sleep(500);
    expect((await stage.use(1, anew)).status).toBe(200);
  });

  test('pending is said where the store does not answer, and made up for', async () => {
    const stage = await open(2);
    await stage.ready();
    const task = await stage.replicas[1]!.task('alice');
    store.hang();
    const socket = stage.replicas[0]!.sidecar.addresses.socket;
    const byHand = await runWaybill(['revoke', '--all', '--reason', 'x', '--socket', socket]);
    expect([byHand.code, byHand.stdout]).toEqual([0, 'revoked: 0 tasks ended, 0 credentials taken back\n']);
    expect(byHand.stderr).toContain('not yet in the store of the fleet');
    store.answer();
    await eventually(
      'the other has heard of it',
      async () => (await stage.use(1, task).catch(() => undefined))?.code === 'handle_ended',
    );
    const asJson = await runWaybill(['revoke', '--tool', 'crm', '--reason', 'x', '--socket', socket, '--json']);
    expect([JSON.parse(asJson.stdout), asJson.stderr]).toEqual([{ tasks: 0, credentials: 0, fleet: 'stored' }, '']);
  });

  test('a task that is not here may be elsewhere', async () => {
    const stage = await open(2);
    await stage.ready();
    const task = await stage.replicas[1]!.task('alice');
    expect((await stage.revoke(0, { task: task.txn })).body).toEqual({ tasks: 0, credentials: 0, fleet: 'stored' });
    // Of a transaction token it may have any name.
    expect((await stage.revoke(0, { task: 'ordér 4711' })).body).toMatchObject({ fleet: 'stored' });
    const taken = () => stage.replicas[1]!.sidecar.events().filter(({ event }) => event === 'principal.revoked').length;
    await eventually('both are taken', () => taken() === 2);
    // A call that is under way is cut.
    const code = async () => (await stage.use(1, task).catch(() => undefined))?.code;
    await eventually('it has ended', async () => (await code()) === 'handle_ended');
  });
});

describe('the store is believed as little as may be', () => {
  test('what is none of ours changes nothing, and a time ahead of ours holds for half a minute', async () => {
    const stage = await open(1);
    await stage.ready();
    const { issuer } = stage.service;
    const strange = ['', 'null', '[]', '["subject"]', '["user","a"]', '["all",1]', '{"kind":"all"}', 'x'.repeat(9000)];
    const set = new Map(strange.map((member, at) => [member, Date.now() + at]));
    set.set(JSON.stringify(['subject', issuer, 'mallory']), Infinity);
    store.sets.set(cutOffs, set);
    await eventually(
      'it is known',
      async () => (await stage.replicas[0]!.sidecar.metric('waybill_fleet_revocations_total{direction="taken"}')) === 1,
      15_000,
    );
    const task = await stage.replicas[0]!.task('alice');
    expect((await stage.use(0, task)).status).toBe(200);
    await expect(stage.replicas[0]!.task('mallory')).rejects.toThrow('subject_revoked');
    await sleep(1000);
    const { sidecar } = stage.replicas[0]!;
    const revoked = readRecord(sidecar.eventsFile).filter(({ event }) => event === 'principal.revoked');
    expect(revoked.length).toBe(1);
    expect(Date.parse(String(revoked[0]?.['before'])) - Date.now()).toBeLessThan(30_000);
    expect(sidecar.output()).toContain('"entries":8');
  });

  test('W8: its password comes from a file, at each connection, and is told to nobody else', async () => {
    await store.close();
    store = await openFakeStore('right-password-0123456789');
    const dir = (await open(1)).replicas[0]!.dir;
    await fleet!.close();
    const file = join(dir, '..', `password-${process.pid}`);
    writeFileSync(file, 'wrong-password-0123456789\n');
    const stage = await open(1, { password_file: file });
    const { sidecar } = stage.replicas[0]!;
    await eventually('it was tried', () => store.passwords.length > 1);
    expect(await isReady(stage)).toContain('store of the fleet');
    expect(sidecar.output()).toContain('WRONGPASS');
    writeFileSync(file, 'right-password-0123456789\n');
    await stage.ready();
    rmSync(file);
    const all = sidecar.output() + JSON.stringify(sidecar.events()) + (await sidecar.metrics());
    expect(all).not.toMatch(/(?:right|wrong)-password/);
  });
});
