import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore, type FakeStore } from '../fakes/store.ts';
import { readRecord } from '../stage/event-record.ts';
import { openFleetStage, type FleetStage } from '../stage/fleet.ts';

let store: FakeStore;
let fleet: FleetStage;

beforeEach(async () => {
  store = await openFakeStore();
  fleet = await openFleetStage(1, { store: `valkey://127.0.0.1:${store.port}` });
  await fleet.ready();
});
afterEach(async () => {
  await fleet.close();
  await store.close();
});

test('W1: a call that waited for its token longer than the store may be silent does not leave', async () => {
  const task = await fleet.replicas[0]!.task('alice');
  const seen = fleet.tool.seen.length;
  store.hang();
  await sleep(1000);
  fleet.service.delayMs = 1700;
  // Admitted in time by its start, late by its end: its connection is cut, or it is told.
  const answer = await fleet.use(0, task).catch(() => undefined);
  expect(['fleet_unavailable', undefined]).toContain(answer?.code);
  expect([fleet.service.counts.token, fleet.tool.seen.length]).toEqual([1, seen]);
});

test('W1: a store that answers again is believed only when others could have come back to it', async () => {
  store.hang();
  await sleep(2500);
  const answeredAt = performance.now();
  store.answer();
  await fleet.ready();
  expect(performance.now() - answeredAt).toBeGreaterThan(900);
});

test('W11: what was revoked elsewhere ends what was issued before, and not what was issued since', async () => {
  const [stage] = fleet.replicas;
  const { issuer } = fleet.service;
  const iat = Math.floor(Date.now() / 1000) - 60;
  const tokens = [
    await fleet.service.subjectToken({ sub: 'alice', iat }),
    await fleet.service.subjectToken({ sub: 'alice' }),
  ];
  const [old, since] = await Promise.all(tokens.map((token) => stage!.task('alice', { subject_token: token })));
  for (const task of [old!, since!]) for (const tool of ['crm', 'files']) await fleet.use(0, task, tool);
  const streams = [await fleet.stream(0, old!), await fleet.stream(0, since!)];
  // Half a minute ago, by a sidecar that could not reach the store until now.
  const before = Date.now() - 30_000;
  store.sets.set('waybill:revoked:cut-offs', new Map([['["tool","crm"]', before]]));
  await streams[0]?.untilClosed();
  expect((await fleet.use(0, old!)).code).toBe('grant_dead');
  expect([(await fleet.use(0, old!, 'files')).status, (await fleet.use(0, since!)).status]).toEqual([200, 200]);
  store.sets.get('waybill:revoked:cut-offs')?.set(JSON.stringify(['subject', issuer, 'alice']), before);
  await eventually(
    'it has ended',
    async () => (await fleet.use(0, old!, 'files').catch(() => undefined))?.code === 'handle_ended',
  );
  expect([(await fleet.use(0, since!)).status, streams[1]?.closedAt]).toEqual([200, undefined]);
  streams[1]?.socket.destroy();
  const events = readRecord(stage!.sidecar.eventsFile).filter(({ event }) => event === 'principal.revoked');
  expect(events.map(({ tasks, before: at }) => [tasks, Date.parse(String(at))])).toEqual([
    [0, before],
    [1, before],
  ]);
});
