import { createServer, type Server } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore, type FakeStore } from '../fakes/store.ts';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { listenOnFreePort } from '../stage/free-port.ts';
import { askOwnDoor } from '../stage/own-door.ts';
import type { RawAnswer } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let store: FakeStore;
let stage: Stage;
/** An issuer whose keys nobody gets before the test says so. */
let slow: FakeTokenService;
let keys: Server;
let waiting: (() => void)[];

beforeEach(async () => {
  store = await openFakeStore();
  slow = await openFakeTokenService();
  waiting = [];
  keys = createServer((_request, response) => {
    const answer = async (): Promise<void> => {
      const set = await (await fetch(`${slow.issuer}/jwks`)).text();
      response.writeHead(200, { 'content-type': 'application/json' }).end(set);
    };
    waiting.push(() => void answer());
  });
  const uri = `http://127.0.0.1:${await listenOnFreePort(keys)}/jwks`;
  stage = await openStage({
    tools: { crm: { port: 1 } },
    sections: ({ issuer }) => ({
      trust: {
        issuers: [
          { issuer, audience: 'invoice-bot' },
          { issuer: slow.issuer, audience: 'invoice-bot', jwks_uri: uri },
        ],
      },
      purposes: { reconcile: { tools: ['crm'] } },
      fleet: { store: `valkey://127.0.0.1:${store.port}`, max_silence: '1s' },
    }),
  });
  await eventually('ready', isReady, 10_000);
});
afterEach(async () => {
  await stage?.close();
  await slow?.close();
  await store?.close();
  keys?.close();
});

const isReady = async (): Promise<boolean> => (await fetch(`http://${stage.sidecar.addresses.health}/readyz`)).ok;
const ask = (path: string, body: Record<string, unknown>, handle?: string): Promise<RawAnswer> =>
  askOwnDoor(
    stage.sidecar.addresses.outbound,
    path,
    body,
    handle === undefined ? {} : { Authorization: `Bearer ${handle}` },
  );

/** Something happens while the sidecar waits for the keys that an opening needs. */
async function openWhile(happens: () => Promise<unknown>, opening: Promise<RawAnswer>): Promise<unknown[]> {
  await eventually('the keys are asked for', () => waiting.length > 0);
  await happens();
  for (const give of waiting) give();
  const { status, code } = await opening;
  return [status, code];
}

test('W6: where the store of the fleet falls silent meanwhile', async () => {
  const body = { subject_token: await slow.subjectToken() };
  const silence = async (): Promise<void> => {
    store.hang();
    await eventually('not ready', async () => !(await isReady()), 1700);
  };
  expect(await openWhile(silence, ask('/v1/tasks', body))).toEqual([503, 'fleet_unavailable']);
  store.answer();
  await eventually('ready', isReady, 10_000);
  expect((await ask('/v1/tasks', body)).status).toBe(201);
});

test('W6: where its parent ends meanwhile', async () => {
  const subject_token = await slow.subjectToken();
  const { txn, handle } = await stage.task();
  const end = (): Promise<RawAnswer> => ask('/v1/tasks/self/complete', {}, handle);
  const opening = ask('/v1/tasks', { subject_token, parent: txn }, handle);
  expect(await openWhile(end, opening)).toEqual([409, 'parent_not_open']);
  expect((await ask('/v1/tasks', { subject_token })).status).toBe(201);
  expect((await ask('/v1/tasks', { subject_token })).code).toBe('token_spent');
});
