import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { caep, openTransmitter, push, signalAudience, type SignalTransmitter } from '../fakes/signal-transmitter.ts';
import { openFakeStore, type FakeStore } from '../fakes/store.ts';
import { readRecord } from '../stage/event-record.ts';
import { openFleetStage, type FleetStage } from '../stage/fleet.ts';
import { callOperator } from '../stage/sidecar-process.ts';

let store: FakeStore;
let transmitter: SignalTransmitter;
let fleet: FleetStage;

beforeEach(async () => {
  store = await openFakeStore();
  transmitter = await openTransmitter();
  fleet = await openFleetStage(2, { store: `valkey://127.0.0.1:${store.port}` }, ({ issuer }) => ({
    trust: { issuers: [{ issuer, audience: 'invoice-bot' }] },
    signals: {
      listen: '127.0.0.1:0',
      transmitters: [{ issuer: transmitter.issuer, audience: signalAudience, subjects: { issuers: [issuer] } }],
    },
  }));
  await fleet.ready();
});
afterEach(async () => {
  await fleet.close();
  await transmitter.close();
  await store.close();
});

test('W11: an event about one token ends its tasks everywhere, once; all others go on, also after restarts', async () => {
  const [first, second] = [fleet.replicas[0]!, fleet.replicas[1]!];
  const token = await fleet.service.subjectToken({ sub: 'alice', jti: 'token-1' });
  const revoked = await second.task('alice', { subject_token: token });
  const others = [await first.task('alice'), await second.task('bob')];
  const subject = { format: 'jwt_id', iss: fleet.service.issuer, jti: 'token-1' };
  const event = transmitter.event(`${caep}session-revoked`, subject);
  expect((await push(first.sidecar.addresses.signals ?? '', event)).status).toBe(202);
  const code = async () => (await fleet.use(1, revoked).catch(() => undefined))?.code;
  await eventually('its task at the other sidecar has ended', async () => (await code()) === 'handle_ended');
  // Longer than a sidecar serves by what it heard once.
  await sleep(3000);
  for (const at of [0, 1]) expect((await fleet.use(at, others[at]!)).status).toBe(200);
  for (const { sidecar } of [first, second]) {
    const opening = await callOperator(sidecar.addresses.socket, 'POST', '/v1/tasks', { subject_token: token });
    expect(opening).toMatchObject({ status: 403, body: { code: 'subject_revoked' } });
    expect(readRecord(sidecar.eventsFile).filter((line) => line.event === 'principal.revoked').length).toBe(1);
  }
  const entries = () => [...(store.sets.get('waybill:revoked:cut-offs')?.keys() ?? [])];
  const before = entries();
  expect(before.length).toBe(1);
  expect(before[0]).not.toContain('token-1');
  await first.sidecar.kill();
  await first.restart();
  store.wipe();
  await fleet.ready();
  await eventually('the store knows it again', () => entries().length > 0);
  await sleep(500);
  expect(entries()).toEqual(before);
});
