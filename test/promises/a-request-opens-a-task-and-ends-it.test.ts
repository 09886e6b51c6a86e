import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { eventually } from '../fakes/eventually.ts';
import type { Caller } from '../stage/caller.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { answerEcho, openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { readRecord, type RecordedEvent } from '../stage/event-record.ts';
import { callThrough, dial, requestBytes, basic } from '../stage/raw-call.ts';
import { expectPasses } from '../stage/refused-way-in.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { Wire } from '../stage/wire.ts';

let authority: Authority;
let crm: EchoTool;
/** Answers of programs and tools that are held back: `/hold` until the test ends them, `/stream` for ever. */
const held = new Map<string, ServerResponse>();

function answer(call: SeenCall, response: ServerResponse): void {
  if (call.path.startsWith('/hold')) {
    held.set(call.path, response);
    return;
  }
  if (!call.path.startsWith('/stream')) {
    answerEcho(call, response);
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const timer = setInterval(() => response.write('data: x\n\n'), 20);
  response.once('close', () => clearInterval(timer));
}

beforeAll(async () => {
  authority = await openDomain();
  crm = await openEchoTool({ answer });
});
afterAll(() => crm?.close());

function open(tasks: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<WayInStage> {
  const tools = { crm: { port: crm.port, host: 'crm.test' } };
  return openWayIn({ authority, answer, tools, inbound: { present: 'handle', ...more }, sections: { tasks } });
}

const handleOf = (stage: WayInStage, path: string): string =>
  String(stage.program.seen.findLast((call) => call.path === path)?.headers.authorization).replace('Bearer ', '');

function use(stage: WayInStage, handle: string, path = '/x') {
  return callThrough(stage.sidecar.addresses.outbound, `http://crm.test${path}`, { handle });
}

/** Sends a request whose answer the program holds back; resolves when the program has it. */
async function begin(stage: WayInStage, caller: Caller, path: string) {
  const answered = caller.send({ path }).catch((error: unknown) => error as Error);
  await eventually('the program has it', () => held.has(path));
  return { answered, handle: handleOf(stage, path) };
}

function endsOf(stage: WayInStage): RecordedEvent[] {
  return readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'task.ended');
}

describe('tasks of a request: answer and linger', () => {
  let stage: WayInStage;
  let caller: Caller;

  beforeAll(async () => {
    stage = await open({ linger: '700ms' });
    caller = await stage.caller({ sub: 'alice' });
  });
  afterAll(() => stage?.close());

  test('the task is open while the program works, for a while after its answer, and no longer', async () => {
    const { answered, handle } = await begin(stage, caller, '/hold/1');
    expect((await use(stage, handle)).status).toBe(200);
    await sleep(1200);
    expect([(await use(stage, handle)).status, await stage.sidecar.metric('waybill_tasks_open')]).toEqual([200, 1]);
    const before = endsOf(stage).length;
    held.get('/hold/1')?.end('done');
    expect(await answered).toMatchObject({ status: 200, body: 'done' });
    expect((await use(stage, handle)).status).toBe(200);
    await eventually('the task ends', () => endsOf(stage).length > before);
    expect(await use(stage, handle)).toMatchObject({ status: 403, code: 'handle_ended' });
    expect(await stage.sidecar.metric('waybill_tasks_open')).toBe(0);
    expect(endsOf(stage).at(-1)).toMatchObject({
      by: 'request',
      cause: 'answered',
      state: 'completed',
      subject: { iss: stage.service.issuer, sub: 'alice' },
      purpose: 'reconcile',
    });
    const opened = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'task.opened');
    expect(opened).toMatchObject({ by: 'request', tools: ['crm'], subject: { sub: 'alice' } });
    await eventually('its token is revoked', () => stage.service.revoked.length === 1);
  });

  test('each request has a task of its own, whoever sends it: no handle and no token is shared', async () => {
    const issued = stage.service.issued.length;
    const [one, two] = [await begin(stage, caller, '/hold/a'), await begin(stage, caller, '/hold/b')];
    expect(one.handle).not.toBe(two.handle);
    for (const { handle } of [one, two]) expect((await use(stage, handle)).status).toBe(200);
    expect(stage.service.issued.length - issued).toBe(2);
    held.get('/hold/a')?.end();
    await one.answered;
    await sleep(1200);
    expect([(await use(stage, one.handle)).code, (await use(stage, two.handle)).status]).toEqual(['handle_ended', 200]);
    held.get('/hold/b')?.end();
    await two.answered;
  });

  test('a caller that leaves ends the task as an answer does, and its streams are cut', async () => {
    const socket = await caller.connect();
    socket.write(caller.bytes({ path: '/hold/left' }));
    await eventually('the program has it', () => held.has('/hold/left'));
    const handle = handleOf(stage, '/hold/left');
    const headers = { Host: 'crm.test', 'Proxy-Authorization': basic(handle) };
    const wire = new Wire(dial(stage.sidecar.addresses.outbound));
    wire.socket.write(requestBytes('GET', 'http://crm.test/stream', headers));
    await wire.until('data: x');
    socket.destroy();
    const started = performance.now();
    await wire.untilClosed(4000);
    expect(performance.now() - started).toBeGreaterThan(500);
    expect((await use(stage, handle)).code).toBe('handle_ended');
  });

  test('an inert token that is long, as of a user of many groups, is a handle all the same, and ends as one', async () => {
    const groups = Array.from({ length: 250 }, (_, at) => `CN=group ${at},OU=example`);
    const inert = await open({ linger: '700ms' }, { present: 'inert-jwt' });
    try {
      const member = await inert.caller({ groups });
      await expectPasses(inert, 'call', () => member.send({ path: '/x' }));
      const token = handleOf(inert, '/x');
      expect(token.length).toBeGreaterThan(6000);
      const bearer = () =>
        callThrough(inert.sidecar.addresses.outbound, 'http://crm.test/', {
          headers: { Authorization: `Bearer ${token}` },
        });
      expect((await bearer()).status).toBe(200);
      expect((await use(inert, token)).status).toBe(200);
      await sleep(1300);
      expect([(await bearer()).code, (await use(inert, token)).code]).toEqual(['handle_ended', 'handle_ended']);
    } finally {
      await inert.close();
    }
  });
});

test('tasks of a request: a deadline ends it, and cuts what is under way in both directions', async () => {
  const stage = await open({ deadline: '1s', linger: '30s' });
  try {
    const caller = await stage.caller();
    const started = performance.now();
    const { answered, handle } = await begin(stage, caller, '/hold/late');
    expect((await use(stage, handle)).status).toBe(200);
    const end = await answered;
    expect(end).toBeInstanceOf(Error);
    expect(performance.now() - started).toBeLessThan(4000);
    expect((await use(stage, handle)).code).toBe('handle_ended');
    expect(endsOf(stage).at(-1)).toMatchObject({ state: 'expired', cause: 'deadline', by: 'deadline' });
    const ended = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.ended');
    expect(ended).toMatchObject({ outcome: 'cut' });
  } finally {
    await stage.close();
  }
});

test('tasks of a request: a chain ends the task that it opened, whatever deadline and linger say', async () => {
  const stage = await open({ deadline: '10m', linger: '1m' });
  try {
    const caller = await stage.caller();
    const hops = await openHops(authority, 'planner');
    const exp = Math.floor(Date.now() / 1000) + 3;
    const errand = {
      subject: { iss: stage.service.issuer, sub: 'alice' },
      resource: stage.origin,
      jkt: caller.key.jkt,
    };
    const may = { resources: [stage.origin, 'http://crm.test'], risk: 'write', hops: 1 };
    const chain = chainAlong(hops, errand, { 0: { exp, purpose: 'audit', may } });
    await expectPasses(stage, 'call', () => caller.send({ path: '/x', chain }));
    const handle = handleOf(stage, '/x');
    const opened = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'task.opened');
    expect(opened).toMatchObject({ purpose: 'audit', expires_at: new Date(exp * 1000).toISOString() });
    expect((await use(stage, handle)).status).toBe(200);
    await sleep(exp * 1000 - Date.now() + 300);
    expect((await use(stage, handle)).code).toBe('handle_ended');
    expect((await caller.send({ path: '/x', chain })).code).toBe('chain_broken');
  } finally {
    await stage.close();
  }
});

test('tasks of a request: detached, it goes on after the answer until it is completed', async () => {
  const stage = await open({ mode: 'detached', linger: '0s' });
  try {
    const caller = await stage.caller();
    await expectPasses(stage, 'call', () => caller.send({ path: '/x' }));
    const handle = handleOf(stage, '/x');
    await sleep(800);
    expect((await use(stage, handle)).status).toBe(200);
    const { txn } = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'task.opened')!;
    const done = await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${String(txn)}/complete`);
    expect([done.status, done.body['state']]).toEqual([200, 'completed']);
    expect((await use(stage, handle)).code).toBe('handle_ended');
  } finally {
    await stage.close();
  }
});
