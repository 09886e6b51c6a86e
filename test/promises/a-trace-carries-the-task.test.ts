import type { ServerResponse } from 'node:http';
import { networkInterfaces } from 'node:os';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import type { Caller } from '../stage/caller.ts';
import { openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { basic, callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused } from '../stage/refused-calls.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let crm: EchoTool;
let stage: WayInStage;
let caller: Caller;

/** What a propagator of OpenTelemetry takes from a request and puts on the calls that belong to it: it reads no more than these bounds. */
function propagated(headers: SeenCall['headers']): Record<string, string> {
  const { traceparent, tracestate } = headers;
  if (traceparent === undefined || !/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(String(traceparent))) return {};
  const child = String(traceparent).replace(/-[0-9a-f]{16}-/, '-aaaaaaaaaaaaaaaa-');
  const state = String(tracestate ?? '');
  return state === '' || state.length > 512 ? { traceparent: child } : { traceparent: child, tracestate: state };
}

/** Programs that are held back, by the path of their request. */
const held = new Map<string, ServerResponse>();

/** A program that knows nothing of handles: it calls the tool with the trace that came, before, in parallel, and after its answer. */
function work(call: SeenCall, response: ServerResponse): void {
  if (call.path.startsWith('/hold')) {
    held.set(call.path, response);
    return;
  }
  void (async () => {
    const use = (step: string): Promise<RawAnswer> => through(`/${step}${call.path}`, propagated(call.headers));
    await Promise.all([use('one'), use('two')]);
    response.end('done');
    await use('late');
  })();
}

function through(path: string, headers: Record<string, string>, host = 'crm.test', handle?: string) {
  const { outbound } = stage.sidecar.addresses;
  return callThrough(outbound, `http://${host}${path}`, { headers, ...(handle === undefined ? {} : { handle }) });
}

const subjectOf = (call: SeenCall | undefined): string =>
  decodeJwt((call?.headers.authorization ?? '').replace(/^\w+ /, '')).sub ?? '';

const stateOf = (path: string): string =>
  String(stage.program.seen.findLast((call) => call.path === path)?.headers['tracestate'] ?? '');

/** The mark of a request that the program holds back, so that its task stays open; and its handle. */
async function begin(path: string, as: Caller = caller) {
  const answered = as.send({ path });
  await eventually('the program has it', () => held.has(path));
  const seen = stage.program.seen.findLast((call) => call.path === path);
  const handle = String(seen?.headers.authorization).replace('Bearer ', '');
  const end = async (): Promise<void> => {
    held.get(path)?.end();
    await answered;
  };
  return { state: stateOf(path), handle, end };
}

beforeAll(async () => {
  crm = await openEchoTool();
  const port = crm.port;
  stage = await openWayIn({
    answer: work,
    tools: {
      crm: { port },
      ledger: { port, more: { risk: 'write' } },
      open: { port, token: false },
    },
    inbound: { present: 'handle' },
    sections: {
      tasks: { linger: '1s' },
      listen: { outbound: '0.0.0.0:0', inbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
    },
  });
  // A listener for all addresses is reached over loopback, as by an agent.
  stage.sidecar.addresses.outbound = stage.sidecar.addresses.outbound.replace('0.0.0.0', '127.0.0.1');
  caller = await stage.caller({ sub: 'alice' });
});
afterAll(async () => {
  await stage?.close();
  await crm?.close();
});

describe('a program that copies its trace calls for its own caller, without a word of ours', () => {
  test('W11: of many users at once, before, beside and after the answer', async () => {
    const users = Array.from({ length: 12 }, (_, at) => `user-${at}`);
    const from = crm.seen.length;
    await Promise.all(
      users.map(async (sub) => {
        const one = await stage.caller({ sub });
        for (let round = 0; round < 3; round += 1)
          expect((await one.send({ path: `/${sub}/${round}` })).status).toBe(200);
      }),
    );
    await eventually('all of them called', () => crm.seen.length === from + users.length * 9);
    for (const call of crm.seen.slice(from)) {
      expect([call.path, subjectOf(call)]).toEqual([call.path, call.path.split('/')[2]]);
      // What named the task stays here; the trace goes on.
      expect([call.headers['traceparent'], call.headers['tracestate']]).toEqual([
        expect.stringMatching(/^00-[0-9a-f]{32}-a{16}-01$/),
        undefined,
      ]);
      expect(call.rawHeaders.join()).not.toMatch(/wbt_|waybill=/);
    }
    const admitted = readRecord(stage.sidecar.eventsFile).filter((event) => event['way'] === 'out');
    expect(new Set(admitted.map((event) => event['task_by']))).toEqual(new Set(['trace']));
    expect(JSON.stringify(readRecord(stage.sidecar.eventsFile))).not.toContain('wbt_');
  });
});

describe('W11: a trace that does not name one open task names none, and a call with two tasks belongs to neither', () => {
  test('unknown, cut, lengthened and ended marks, those of another process, and two of them', async () => {
    const alice = await begin('/hold/alice');
    const bob = await begin('/hold/bob', await stage.caller({ sub: 'bob' }));
    const mark = alice.state.replace('waybill=', '');
    expect((await through('/x', { tracestate: alice.state })).status).toBe(200);
    expect(subjectOf(crm.seen.at(-1))).toBe('alice');
    const swapped = mark.slice(0, -1) + (mark.endsWith('A') ? 'B' : 'A');
    const asked = crm.seen.length;
    const tried = [];
    for (const value of [swapped, mark.slice(0, -1), `${mark}A`, 'wbt_', `${mark};p`])
      for (const host of ['crm.test', 'open.test'])
        tried.push({ what: `${value} ${host}`, answer: await through('/x', { tracestate: `waybill=${value}` }, host) });
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'handle_unknown');
    const foreign = `waybill=wbt_AAAAAAAA${mark.slice(12)}`;
    expect((await through('/x', { tracestate: foreign })).code).toBe('handle_previous_process');
    const two = [
      await through('/x', { tracestate: `${alice.state},${bob.state}` }),
      await through('/x', { tracestate: alice.state }, 'crm.test', bob.handle),
      await through('/x', { tracestate: alice.state, Authorization: `Bearer ${bob.handle}` }),
      await callInTunnel(
        stage.sidecar.addresses.outbound,
        'crm.test:80',
        { handle: bob.handle },
        {
          headers: { Host: 'crm.test', tracestate: alice.state },
        },
      ),
    ];
    await expectRefused(
      stage.sidecar.eventsFile,
      two.map((answer, at) => ({ what: `two ${at}`, answer })),
      403,
      'task_conflict',
    );
    expect(crm.seen.length).toBe(asked);
    // The same task twice is one task, and the first rung stands in the record.
    expect((await through('/x', { tracestate: `b=1,${alice.state}` }, 'crm.test', alice.handle)).status).toBe(200);
    expect(readRecord(stage.sidecar.eventsFile).findLast((event) => event.event === 'call.admitted')?.['task_by']).toBe(
      'proxy',
    );
    expect(crm.seen.at(-1)?.headers['tracestate']).toBe('b=1');
    await alice.end();
    await bob.end();
    await eventually('the tasks end', async () => (await stage.sidecar.metric('waybill_tasks_open')) === 0, 10_000);
    const late = await through('/x', { tracestate: alice.state });
    await expectRefused(stage.sidecar.eventsFile, [{ what: 'ended', answer: late }], 403, 'handle_ended');
    expect(readRecord(stage.sidecar.eventsFile).findLast((event) => event.event === 'call.refused')).toMatchObject({
      task_by: 'trace',
      subject: { sub: 'alice' },
      replay: { reason: 'handle_ended', grade: 'suspected' },
    });
  });

  test('not at a tool that is graver than the setting, not from elsewhere, and not on CONNECT', async () => {
    const task = await begin('/hold/grave');
    const asked = crm.seen.length;
    expect(await through('/x', { tracestate: task.state }, 'ledger.test')).toMatchObject({ code: 'task_unknown' });
    // A handle goes there, and the mark beside it leaves with nothing.
    expect((await through('/x', { tracestate: task.state }, 'ledger.test', task.handle)).status).toBe(200);
    expect(crm.seen.at(-1)?.rawHeaders.join()).not.toMatch(/wbt_|tracestate/);
    const tunnel = { headers: { tracestate: task.state, 'User-Agent': 'git/2' } };
    const inside = { headers: { Host: 'crm.test' } };
    const { outbound } = stage.sidecar.addresses;
    expect(await callInTunnel(outbound, 'crm.test:80', tunnel, inside)).toMatchObject({ code: 'task_unknown' });
    const traced = { headers: { Host: 'crm.test', tracestate: task.state } };
    expect(await callInTunnel(outbound, 'crm.test:80', {}, traced)).toMatchObject({ status: 200 });
    const far = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
    if (far !== undefined) {
      const answer = await callThrough(outbound.replace('127.0.0.1', far), 'http://crm.test/x', {
        headers: traced.headers,
      });
      expect(answer.code).toBe('task_unknown');
    }
    expect(crm.seen.length).toBe(asked + 2);
    await task.end();
  });

  test('a handle in its place is none, nor is a mark in the place of a handle', async () => {
    const task = await begin('/hold/place');
    const mark = task.state.replace('waybill=', '');
    expect((await through('/x', { tracestate: `waybill=${task.handle}` })).code).toBe('task_unknown');
    for (const headers of [
      { Authorization: `Bearer ${mark}` },
      { 'x-api-key': mark },
      { 'Proxy-Authorization': basic(mark) },
    ])
      expect([headers, (await through('/x', headers as Record<string, string>)).code]).toEqual([
        headers,
        'task_unknown',
      ]);
    await task.end();
  });
});

test('W11: with trace_rung off nothing is put in and nothing is read; with a graver one the graver tools take it', async () => {
  const open = (trace: string) =>
    openWayIn({
      answer: work,
      tools: { crm: { port: crm.port }, ledger: { port: crm.port, more: { risk: 'write' } } },
      inbound: { present: 'handle' },
      sections: { tasks: { trace_rung: trace } },
    });
  const before = stage;
  for (const trace of ['off', 'write']) {
    stage = await open(trace);
    try {
      const task = await begin(`/hold/${trace}`, await stage.caller({ sub: 'carol' }));
      if (trace === 'off') expect(task.state).toBe('');
      else expect((await through('/x', { tracestate: task.state }, 'ledger.test')).status).toBe(200);
      if (trace === 'off')
        expect((await through('/x', { tracestate: `waybill=wbt_${'A'.repeat(40)}` })).code).toBe('task_unknown');
      await task.end();
    } finally {
      await stage.close();
    }
  }
  stage = before;
});
