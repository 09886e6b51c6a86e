import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore, type FakeStore } from '../fakes/store.ts';
import { openFleetStage, type FleetStage } from '../stage/fleet.ts';
import { callOperator } from '../stage/sidecar-process.ts';

let store: FakeStore;
let fleet: FleetStage | undefined;

beforeEach(async () => {
  store = await openFakeStore();
  fleet = await openFleetStage(1, { store: `valkey://127.0.0.1:${store.port}` });
  await fleet.ready();
});
afterEach(async () => {
  await fleet?.close();
  await store.close();
});

/** Opens a task, and sub-tasks of it. @param isNested each is the sub-task of the one before. */
async function openFamily(size: number, isNested: boolean): Promise<string> {
  const [only] = fleet!.replicas;
  const { socket } = only!.sidecar.addresses;
  const subject_token = await only!.service.subjectToken({ sub: 'alice' });
  let first: string | undefined;
  let parent: string | undefined;
  for (let at = 0; at < size; at += 1) {
    const { status, body } = await callOperator(socket, 'POST', '/v1/tasks', {
      subject_token,
      ...(parent && { parent }),
    });
    expect(status).toBe(201);
    first ??= String(body['txn']);
    parent = isNested ? String(body['txn']) : first;
  }
  return first ?? '';
}

test('those that are nested deep all end, also where they are many', { timeout: 60_000 }, async () => {
  const first = await openFamily(4000, true);
  const { status, body } = await fleet!.revoke(0, { task: first });
  expect([status, body['tasks']]).toEqual([200, 4000]);
});

test('thousands that another sidecar names hold up nobody', { timeout: 60_000 }, async () => {
  const first = await openFamily(2000, false);
  const theirs = new Map(Array.from({ length: 10_000 }, () => [randomBytes(16).toString('hex'), Date.now()] as const));
  store.sets.set('waybill:revoked:tasks', new Map([...theirs, [first, Date.now()]]));
  const { health, socket } = fleet!.replicas[0]!.sidecar.addresses;
  let longestMs = 0;
  const isOver = async (): Promise<boolean> => {
    const askedAt = performance.now();
    await fetch(`http://${health}/livez`, { headers: { connection: 'close' } });
    const { body } = await callOperator(socket, 'GET', `/v1/tasks/${first}`);
    longestMs = Math.max(longestMs, performance.now() - askedAt);
    await sleep(20);
    return body['state'] === 'revoked';
  };
  await eventually('it has ended', isOver, 30_000);
  expect(longestMs).toBeLessThan(2000);
});
