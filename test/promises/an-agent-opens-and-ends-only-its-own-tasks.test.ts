import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { basic, callThrough, dial, exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused } from '../stage/refused-calls.ts';
import { askOwnDoor } from '../stage/own-door.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { Wire } from '../stage/wire.ts';

let tool: EchoTool;
let stage: Stage;

function open(): Promise<Stage> {
  const { port } = tool;
  return openStage({
    tools: { crm: { port }, files: { port }, pay: { port, more: { risk: 'write' } } },
    sections: {
      agent: { name: 'invoice-bot', purpose: 'reconcile' },
      purposes: { reconcile: { tools: ['crm', 'pay'], risk: 'read' }, file: { tools: ['files'] } },
    },
  });
}

beforeAll(async () => {
  tool = await openEchoTool();
  stage = await open();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

const outbound = (): string => stage.sidecar.addresses.outbound;
const local = 'http://waybill.local';

const ask = (path: string, body?: unknown, headers?: Record<string, string>, target?: string) =>
  askOwnDoor(outbound(), path, body, headers, target);
const token = (claims: Record<string, unknown> = {}) => stage.service.subjectToken({ sub: 'alice', ...claims });
const use = (handle: string, host = 'crm.test') => callThrough(outbound(), `http://${host}/x`, { handle });
const read = (answer: RawAnswer): Record<string, unknown> => JSON.parse(answer.body) as Record<string, unknown>;

async function openOwn(request: Record<string, unknown> = {}) {
  const answer = await ask('/v1/tasks', { subject_token: await token(), ...request });
  expect([answer.status, answer.code]).toEqual([201, undefined]);
  return read(answer) as {
    txn: string;
    handle: string;
    handles?: Record<string, string>;
    tools: string[];
    proxy: string;
  };
}

describe('the agent opens tasks for the users whose tokens it was given', () => {
  test('by its proxy, at the listener itself, and in a tunnel; the task is like any other', async () => {
    const own = outbound();
    const sent = async (target: string, host: string) =>
      ask('/v1/tasks', { subject_token: await token() }, { Host: host }, target);
    const text = JSON.stringify({ subject_token: await token() });
    const inside = {
      method: 'POST',
      url: '/v1/tasks',
      headers: { Host: 'waybill.local', 'Content-Length': String(text.length) },
      body: text,
    };
    const answers = [
      await sent(`${local}/v1/tasks`, 'waybill.local'),
      await sent(`${local}:80/v1/tasks`, 'waybill.local'),
      await sent('/v1/tasks', 'waybill.local'),
      await sent('/v1/tasks', own),
      await sent('/v1/tasks', own.replace('127.0.0.1', 'localhost')),
      await sent(`http://${own}/v1/tasks`, own),
      await callInTunnel(own, 'waybill.local:80', {}, inside),
    ];
    const wire = new Wire(dial(own));
    const waiting = { Host: own, Expect: '100-continue', 'Content-Length': String(text.length) };
    wire.socket.write(requestBytes('POST', '/v1/tasks', waiting));
    await wire.until('100 Continue');
    wire.socket.write(JSON.stringify({ subject_token: await token() }));
    await wire.until('HTTP/1.1 201');
    wire.socket.destroy();
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    const opened = read(answers[0]!);
    expect(opened).toMatchObject({
      state: 'open',
      subject: { iss: stage.service.issuer, sub: 'alice' },
      purpose: 'reconcile',
      tools: ['crm'],
      proxy: `http://task:${String(opened['handle'])}@${own}`,
    });
    expect((await use(String(opened['handle']))).status).toBe(200);
    const event = readRecord(stage.sidecar.eventsFile).find((one) => one['txn'] === opened['txn']);
    expect(event).toMatchObject({ event: 'task.opened', by: 'agent', subject: { sub: 'alice' } });
  });

  test('over HTTP/1.0 too, where nobody is told to go on (RFC 9110 10.1.1)', async () => {
    const text = JSON.stringify({ subject_token: await token() });
    const expecting = { Host: outbound(), Expect: '100-continue', 'Content-Length': String(text.length) };
    const wire = new Wire(dial(outbound()));
    wire.socket.write(requestBytes('POST', '/v1/tasks', expecting).toString().replace('HTTP/1.1', 'HTTP/1.0') + text);
    await wire.untilClosed();
    expect(wire.received).toMatch(/^HTTP\/1\.1 201 /);
  });

  test('W10: only within what purposes allow, each token once, and only tokens that are for this agent', async () => {
    const before = await stage.sidecar.metric('waybill_tasks_open');
    const spent = await token();
    expect((await ask('/v1/tasks', { subject_token: spent })).status).toBe(201);
    const tried: [unknown, number, string][] = [
      [{ subject_token: spent }, 403, 'token_spent'],
      [{ subject_token: await token({ aud: 'other-bot' }) }, 403, 'subject_token_invalid'],
      [{ subject_token: await token({ jti: undefined }) }, 403, 'subject_token_invalid'],
      [{ subject_token: await token({ exp: 1 }) }, 403, 'subject_token_invalid'],
      [{ subject_token: `${(await token()).slice(0, -8)}AAAAAAAA` }, 403, 'subject_token_invalid'],
      [{ subject_token: await token(), purpose: 'anything' }, 403, 'purpose_not_allowed'],
      [{ subject_token: await token(), tools: ['files'] }, 403, 'purpose_not_allowed'],
      [{ subject_token: await token(), tools: ['pay'] }, 403, 'purpose_not_allowed'],
      [{ subject_token: await token(), tools: ['nothing'] }, 400, 'tool_unknown'],
      [{ subject_token: await token(), more: 1 }, 400, 'request_invalid'],
      [{}, 400, 'request_invalid'],
    ];
    for (const [body, status, code] of tried) {
      const answer = await ask('/v1/tasks', body);
      expect([code, answer.status, answer.code]).toEqual([code, status, code]);
    }
    expect(await stage.sidecar.metric('waybill_tasks_open')).toBe(before + 1);
    // A token that was refused for what was asked with it is not spent; of many at a time, one opens.
    const one = await token();
    expect((await ask('/v1/tasks', { subject_token: one, tools: ['files'] })).code).toBe('purpose_not_allowed');
    const many = await Promise.all(Array.from({ length: 8 }, () => ask('/v1/tasks', { subject_token: one })));
    expect(many.map(({ status, code }) => code ?? status).filter((told) => told !== 'token_spent')).toEqual([201]);
    const narrowed = await openOwn({ purpose: 'file', uses: 1, handles: 'per_tool', deadline: '1m' });
    expect([narrowed.tools, (await use(narrowed.handles?.['files'] ?? '', 'files.test')).status]).toEqual([
      ['files'],
      200,
    ]);
    expect((await use(narrowed.handles?.['files'] ?? '', 'files.test')).code).toBe('handle_spent');
  });

  test('W11: a sub-task only of a task whose handle it holds', async () => {
    const [mine, theirs] = [await openOwn(), await stage.task('bob')];
    const body = async (parent: string) => ({ subject_token: await token(), parent });
    expect((await ask('/v1/tasks', await body(theirs.txn))).code).toBe('request_invalid');
    const held = { Authorization: `Bearer ${mine.handle}` };
    expect((await ask('/v1/tasks', await body(theirs.txn), held)).code).toBe('request_invalid');
    const child = read(await ask('/v1/tasks', await body(mine.txn), held));
    expect(child['parent']).toBe(mine.txn);
    await ask('/v1/tasks/self/complete', {}, held);
    expect((await use(String(child['handle']))).code).toBe('handle_ended');
  });
});

describe('the agent ends a task by its own handle', () => {
  test('W11: and by nothing else; a wrong one is told as in any call', async () => {
    const ways: Record<string, (handle: string) => Record<string, string>> = {
      complete: (handle) => ({ Authorization: `Bearer ${handle}` }),
      fail: (handle) => ({ 'Proxy-Authorization': basic(handle) }),
    };
    for (const [action, headersOf] of Object.entries(ways)) {
      const task = await openOwn();
      expect((await use(task.handle)).status).toBe(200);
      const answer = await ask(`/v1/tasks/self/${action}`, { reason: 'done with it' }, headersOf(task.handle));
      const state = action === 'fail' ? 'failed' : 'completed';
      expect([answer.status, read(answer)]).toEqual([
        200,
        { txn: task.txn, state, credentials_dropped: 1, revocations_queued: 1 },
      ]);
      expect((await use(task.handle)).code).toBe('handle_ended');
      expect(readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'task.ended')).toMatchObject({
        txn: task.txn,
        by: 'agent',
        cause: 'done with it',
      });
    }
    const [mine, other] = [await openOwn({ handles: 'per_tool' }), await openOwn()];
    const ended = await openOwn();
    await ask('/v1/tasks/self/complete', {}, { 'x-api-key': ended.handle });
    const bearer = (value: string) => ({ Authorization: `Bearer ${value}` });
    const tried: [Record<string, string>, number, string][] = [
      [{}, 401, 'task_unknown'],
      [bearer('sk-own'), 401, 'task_unknown'],
      [{ tracestate: `waybill=wbt_${'A'.repeat(40)}` }, 401, 'task_unknown'],
      [bearer(mine.handles?.['crm'] ?? ''), 403, 'handle_foreign_tool'],
      [bearer(`${mine.handle.slice(0, -4)}AAAA`), 403, 'handle_unknown'],
      [bearer(`wbh_AAAAAAAA${mine.handle.slice(12)}`), 403, 'handle_previous_process'],
      [bearer(ended.handle), 403, 'handle_ended'],
      [{ ...bearer(mine.handle), 'x-api-key': other.handle }, 403, 'task_conflict'],
    ];
    for (const [headers, status, code] of tried)
      await expectRefused(
        stage.sidecar.eventsFile,
        [{ what: code, answer: await ask('/v1/tasks/self/complete', {}, headers) }],
        status,
        code,
      );
    for (const { handle } of [mine, other]) expect((await use(handle)).status).toBe(200);
  });
});

test('W10: it is reached by its own name only, not from a page in a browser, and serves nothing else', async () => {
  const before = await stage.sidecar.metric('waybill_tasks_open');
  const body = { subject_token: await token() };
  const own = outbound();
  const forms: [string, string, Record<string, string>][] = [
    [`${local}/v1/tasks`, 'waybill.local', { Origin: 'http://waybill.local' }],
    ['/v1/tasks', own, { Origin: 'null' }],
    ['/v1/tasks', 'evil.example.org', {}],
    ['/v1/tasks', 'waybill.local:81', {}],
    [`${local}/v1/tasks`, own, {}],
    [`http://${own}/v1/tasks`, 'waybill.local', {}],
    ['http://waybill.local.evil.example/v1/tasks', 'waybill.local.evil.example', {}],
    ['http://user@waybill.local/v1/tasks', 'waybill.local', {}],
    [`${local}/v1/tasks?x=1`, 'waybill.local', {}],
    [`${local}/v1/tasks/`, 'waybill.local', {}],
    [`${local}/v1/revoke`, 'waybill.local', {}],
    [`${local}/v1/tasks/self/revoke`, 'waybill.local', {}],
  ];
  for (const [target, host, headers] of forms) {
    const answer = await ask('', body, { Host: host, ...headers }, target);
    expect([target, host, [400, 403].includes(answer.status)]).toEqual([target, host, true]);
  }
  const twice = `POST /v1/tasks HTTP/1.1\r\nHost: ${own}\r\nHost: ${own}\r\nContent-Length: 2\r\n\r\n{}`;
  expect((await exchangeRaw(own, Buffer.from(twice))).status).toBe(400);
  for (const path of ['/v1/tasks', '/v1/tasks?state=open', '/v1/inventory', '/v1/events?after=0'])
    expect([path, (await callThrough(own, local + path)).status]).toEqual([path, 403]);
  for (const target of ['waybill.local:443', 'waybill.local:15000'])
    expect((await callInTunnel(own, target, {}, { headers: { Host: target } })).code).toBe('destination_unlisted');
  const inside = { method: 'POST', url: '/v1/tasks', headers: { Host: own, 'Content-Length': '2' }, body: '{}' };
  expect((await callInTunnel(own, 'waybill.local:80', {}, inside)).code).toBe('authority_mismatch');
  expect(await stage.sidecar.metric('waybill_tasks_open')).toBe(before);
  expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
});
