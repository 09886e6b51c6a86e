import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import type { Caller } from '../stage/caller.ts';
import { answerEcho, openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { readRecord, type RecordedEvent } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const maxOpen = 256;
/** What one caller may have of them. */
const share = maxOpen / 4;
/** Answers that the program holds back until the test ends them. */
const held = new Map<string, ServerResponse>();
let crm: EchoTool;
let stage: WayInStage;

beforeAll(async () => {
  crm = await openEchoTool();
});
afterEach(() => stage?.close());
afterAll(() => crm?.close());

function answer(call: SeenCall, response: ServerResponse): void {
  if (call.path.startsWith('/hold')) held.set(call.path, response);
  else answerEcho(call, response);
}

async function open(lingering: string): Promise<WayInStage> {
  held.clear();
  return openWayIn({
    answer,
    tools: { crm: { port: crm.port } },
    inbound: { present: 'handle' },
    sections: { tasks: { max_open: maxOpen, linger: lingering } },
  });
}

/** Sends so many requests, several at once over connections that are kept, and says how they ended. */
async function callQuickly(caller: Caller, count: number): Promise<Map<string, number>> {
  const ends = new Map<string, number>();
  let next = 0;
  const work = async (): Promise<void> => {
    const socket = await caller.connect();
    for (let at = next++; at < count; at = next++) {
      const { status, code } = await caller.send({ path: `/${at}` }, socket);
      const end = code ?? String(status);
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: 8 }, work));
  return ends;
}

/** Sends requests that the program does not answer; resolves when it has them all, with how each will end. */
async function hold(caller: Caller, name: string, count: number): Promise<Promise<string>[]> {
  const paths = Array.from({ length: count }, (_, at) => `/hold/${name}/${at}`);
  const answered = paths.map((path) =>
    caller.send({ path }).then(
      ({ status, body }) => `${status} ${body}`,
      () => 'cut',
    ),
  );
  await eventually('the program has them', () => paths.every((path) => held.has(path)));
  return answered;
}

/** A request of this caller that is answered; the handle of its task, which lingers then. */
async function pass(caller: Caller, path: string): Promise<string> {
  await expectPasses(stage, path, () => caller.send({ path }));
  const call = stage.program.seen.findLast((seen) => seen.path === path);
  return String(call?.headers.authorization).replace('Bearer ', '');
}

/** What becomes of a call of the agent with this handle. */
async function use(handle: string): Promise<string> {
  const { status, code } = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/', { handle });
  return code ?? String(status);
}

function endsOfTasks(): RecordedEvent[] {
  return readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'task.ended');
}

const openTasks = (): Promise<number> => stage.sidecar.metric('waybill_tasks_open');
const overloaded = (caller: Caller) => ({ what: 'one more', code: 'overloaded', send: () => caller.send() });

describe('tasks that linger', () => {
  beforeEach(async () => {
    stage = await open('2s');
  });

  test('several hundred quick requests of one caller all pass: what was answered makes room', async () => {
    const caller = await stage.caller();
    expect(await callQuickly(caller, 500)).toEqual(new Map([['200', 500]]));
    expect(await openTasks()).toBeLessThanOrEqual(share);
    const early = endsOfTasks();
    expect(early.length).toBeGreaterThanOrEqual(500 - share);
    expect(new Set(early.map(({ state, cause, by }) => [state, cause, by].join(' ')))).toEqual(
      new Set(['completed answered request']),
    );
    await eventually('the rest ends in its time', () => endsOfTasks().length === 500);
    expect(await openTasks()).toBe(0);
  });

  test('what is under way makes no room: beyond the share the next is refused, and all that were held end well', async () => {
    const caller = await stage.caller();
    const answered = await hold(caller, 'a', share - 1);
    // The last place is that of one task after the other, however long each may linger.
    for (const path of ['/1', '/2', '/3']) await pass(caller, path);
    answered.push(...(await hold(caller, 'b', 1)));
    await expectEachRefused(stage, [overloaded(caller), overloaded(caller)]);
    expect(await openTasks()).toBe(share);
    await expectPasses(stage, 'another caller', async () => (await stage.caller({ sub: 'bob' })).send());
    for (const response of held.values()) response.end('done');
    expect(new Set(await Promise.all(answered))).toEqual(new Set(['200 done']));
    await expectPasses(stage, 'afterwards', () => caller.send());
  });
});

describe('tasks that linger long', () => {
  beforeEach(async () => {
    stage = await open('1m');
  });

  test('a caller who needs room gets it from his own tasks first, oldest first, and else from the oldest', async () => {
    const names = ['ann', 'ben', 'cid', 'dot'];
    const first: string[] = [];
    const callers = new Map<string, Caller>();
    for (const sub of names) {
      const caller = await stage.caller({ sub });
      callers.set(sub, caller);
      first.push(await pass(caller, `/${sub}/0`));
      await callQuickly(caller, share - 1);
    }
    expect(await openTasks()).toBe(maxOpen);
    expect(await Promise.all(first.map(use))).toEqual(['200', '200', '200', '200']);
    await pass(callers.get('dot')!, '/dot/more');
    expect(await Promise.all(first.map(use))).toEqual(['200', '200', '200', 'handle_ended']);
    // Who has none takes the place of somebody else's: one task, and no more.
    await pass(await stage.caller({ sub: 'eve' }), '/eve/0');
    expect(await Promise.all(first.map(use))).toEqual(['handle_ended', '200', '200', 'handle_ended']);
    expect([await openTasks(), endsOfTasks().length]).toEqual([maxOpen, 2]);
  });

  test('who has used up his share with requests under way takes nobody else’s place: it would not help him', async () => {
    const [ann, ...others] = await Promise.all(['ann', 'ben', 'cid', 'dot'].map((sub) => stage.caller({ sub })));
    const answered = await hold(ann!, 'ann', share);
    const handles: string[] = [];
    for (const [at, other] of others.entries()) handles.push(await pass(other, `/other/${at}`));
    const untouched = ['200', '200', '200'];
    await expectEachRefused(stage, [overloaded(ann!), overloaded(ann!)]);
    expect(await Promise.all(handles.map(use))).toEqual(untouched);
    for (const other of others) await callQuickly(other, share - 1);
    expect(await openTasks()).toBe(maxOpen);
    await expectEachRefused(stage, [overloaded(ann!), overloaded(ann!)]);
    expect(await Promise.all(handles.map(use))).toEqual(untouched);
    for (const response of held.values()) response.end();
    await Promise.all(answered);
  });

  test('a sidecar that stops ends them as completed, and only what nobody answered as failed', async () => {
    const caller = await stage.caller();
    await callQuickly(caller, 10);
    const [cut] = await hold(caller, 'cut', 1);
    expect([await openTasks(), endsOfTasks().length]).toEqual([11, 0]);
    await stage.sidecar.stop();
    expect(await cut).toBe('cut');
    const ends = endsOfTasks().map(({ state, cause }) => [state, cause].join(' '));
    expect(ends.toSorted()).toEqual([...Array.from({ length: 10 }, () => 'completed answered'), 'failed shutdown']);
  });
});
