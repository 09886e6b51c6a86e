import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { answerEcho, openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord, type RecordedEvent } from '../stage/event-record.ts';
import { basic, callThrough, dial, exchangeOn, exchangeRaw, openTunnel, requestBytes } from '../stage/raw-call.ts';
import { expectRefused } from '../stage/refused-calls.ts';
import { callOperator, type StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let cutAtTool = 0;

beforeAll(async () => {
  tool = await openEchoTool({
    answer: (call, response) => {
      if (!call.path.startsWith('/stream')) {
        answerEcho(call, response);
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => response.write('data: x\n\n'), 20);
      response.once('close', () => {
        clearInterval(timer);
        cutAtTool += 1;
      });
    },
  });
  const at = (proof?: 'dpop') => ({ port: tool.port, ...(proof === undefined ? {} : { proof }) });
  const dir = mkdtempSync(join(tmpdir(), 'waybill-end-'));
  writeFileSync(join(dir, 'key'), 'static-key-of-the-tool');
  stage = await openStage({
    dir,
    tools: {
      crm: at(),
      pay: at('dpop'),
      files: at(),
      open: { port: tool.port, token: false },
      brokered: { port: tool.port, token: false, more: { secret: { file: join(dir, 'key'), in: 'header' } } },
    },
  });
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});

const outbound = (): string => stage.sidecar.addresses.outbound;

function use({ handle }: StagedTask, name = 'crm', path = '/x') {
  return callThrough(outbound(), `http://${name}.test${path}`, { handle });
}

function end({ txn }: StagedTask, how: 'complete' | 'fail' = 'complete', body?: unknown) {
  return callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${txn}/${how}`, body);
}

function eventsOf(task: StagedTask, name: string): RecordedEvent[] {
  return readRecord(stage.sidecar.eventsFile).filter(({ event, txn }) => event === name && txn === task.txn);
}

test.for(['crm', 'brokered'])(
  'W4: a task that ends while the body of a call to %s comes is no use of an old handle',
  async (name) => {
    const [task, before] = [await stage.task(), tool.seen.length];
    const blocked = 'waybill_replays_blocked_total{way="out",reason="handle_ended",grade="suspected"}';
    const counted = await stage.sidecar.metric(blocked);
    const host = `${name}.test`;
    const bytes = requestBytes(
      'POST',
      `http://${host}/x`,
      { Host: host, 'Proxy-Authorization': basic(task.handle), 'Content-Length': '5' },
      'hello',
    );
    const socket = dial(outbound());
    try {
      socket.write(bytes.subarray(0, -1));
      await sleep(200);
      await end(task);
      const answer = await exchangeOn(socket, bytes.subarray(-1));
      await expectRefused(stage.sidecar.eventsFile, [{ what: name, answer }], 403, 'grant_dead');
    } finally {
      socket.destroy();
    }
    expect([tool.seen.length, await stage.sidecar.metric(blocked)]).toEqual([before, counted]);
    expect((await use(task, name)).code).toBe('handle_ended');
    expect(await stage.sidecar.metric(blocked)).toBe(counted + 1);
  },
);

describe('W4: when a task ends, its tokens leave the cache and go back to their issuer', () => {
  test.for([
    ['complete', 'completed'],
    ['fail', 'failed'],
  ] as const)('%s: all of its tokens, and nobody else’s', async ([how, state]) => {
    const [task, other] = [await stage.task(), await stage.task()];
    const from = stage.service.issued.length;
    for (const name of ['crm', 'pay', 'files', 'crm', 'open']) expect((await use(task, name)).status).toBe(200);
    const own = stage.service.issued.slice(from);
    await use(other);
    const answer = await end(task, how, { reason: 'all done' });
    expect([answer.status, answer.body]).toEqual([
      200,
      { txn: task.txn, state, credentials_dropped: 3, revocations_queued: 3 },
    ]);
    await eventually('the tokens go back', () => own.every((token) => stage.service.revoked.includes(token)));
    expect(stage.service.revoked).not.toContain(stage.service.issued.at(-1));
    await eventually('that is recorded', () => eventsOf(task, 'token.revoked').length === 3);
    expect(eventsOf(task, 'token.revoked').map(({ cause }) => cause)).toEqual([state, state, state]);
    expect(eventsOf(task, 'task.ended')).toMatchObject([
      { by: 'operator_api', cause: 'all done', state, purpose: 'reconcile' },
    ]);
    const asked = stage.service.counts.token;
    expect([(await use(task)).code, (await use(other)).status, stage.service.counts.token]).toEqual([
      'handle_ended',
      200,
      asked,
    ]);
    const again = await end(task, how);
    expect([again.status, again.body['code']]).toEqual([409, 'task_not_open']);
  });

  test('a service that cannot take them now is asked again, and nobody waits for it', async () => {
    const task = await stage.task();
    await use(task);
    const token = stage.service.issued.at(-1) ?? '';
    stage.service.revokeStatus = 503;
    const startedAt = performance.now();
    expect((await end(task)).body).toMatchObject({ credentials_dropped: 1, revocations_queued: 1 });
    expect(performance.now() - startedAt).toBeLessThan(500);
    await sleep(200);
    stage.service.revokeStatus = 200;
    await eventually('the token goes back', () => stage.service.revoked.includes(token), 8000);
  });

  test('a token that is on its way when its task ends is used by nobody and goes back', async () => {
    const task = await stage.task();
    stage.service.delayMs = 400;
    const [seen, from] = [tool.seen.length, stage.service.issued.length];
    const calls = [use(task), use(task)];
    await eventually('the service is asked', () => stage.service.requests.length > from);
    await sleep(50);
    await end(task);
    const answers = await Promise.all(calls);
    stage.service.delayMs = 0;
    expect(answers.every(({ status }) => status === 403)).toBe(true);
    expect(tool.seen.length).toBe(seen);
    await eventually(
      'the token goes back',
      () => stage.service.issued.length > from && stage.service.revoked.includes(stage.service.issued.at(-1) ?? ''),
    );
  });
});

describe('W11: the handle of a task that is over is a tombstone', () => {
  test('in every place where a handle may stand, at every tool, also with handles for one tool', async () => {
    const task = await stage.task('alice', { handles: 'per_tool' });
    const { handle, handles } = task;
    await end(task);
    const before = [tool.seen.length, stage.service.counts.token];
    const suspected = 'waybill_replays_blocked_total{way="out",reason="handle_ended",grade="suspected"}';
    const counted = await stage.sidecar.metric(suspected);
    const url = 'http://crm.test/x';
    const tries = [
      { headers: { Authorization: `Bearer ${handle}` } },
      { headers: { Authorization: basic(handle) } },
      { headers: { 'x-api-key': handle } },
      { headers: { Authorization: `Bearer ${handles['crm'] ?? ''}` } },
      { handle },
      { handle: handles['crm'] ?? '' },
    ];
    for (const options of tries) expect((await callThrough(outbound(), url, options)).code).toBe('handle_ended');
    expect((await callThrough(outbound(), 'http://open.test/', { handle })).code).toBe('handle_ended');
    const mounted = await exchangeRaw(
      outbound(),
      requestBytes('GET', '/tools/crm/x', { Host: outbound(), 'x-api-key': handle }),
    );
    expect(mounted.code).toBe('handle_ended');
    const connect = await exchangeRaw(
      outbound(),
      requestBytes('CONNECT', 'crm.test:443', { Host: 'crm.test:443', 'Proxy-Authorization': basic(handle) }),
    );
    expect([connect.status, connect.code]).toEqual([403, 'handle_ended']);
    expect([tool.seen.length, stage.service.counts.token]).toEqual(before);
    expect(await stage.sidecar.metric(suspected)).toBe(counted + tries.length + 3);
  });

  test('inside a tunnel that was opened while it lived', async () => {
    const task = await stage.task();
    const socket = await openTunnel(outbound(), 'crm.test:80', { handle: task.handle });
    const ask = () => exchangeOn(socket, requestBytes('GET', '/x', { Host: 'crm.test' }));
    expect((await ask()).status).toBe(200);
    await end(task);
    const answer = await ask();
    expect([answer.status, answer.code]).toEqual([403, 'handle_ended']);
    socket.destroy();
  });
});

describe('W4: what a task has under way is cut when it ends', () => {
  test.for(['crm', 'pay', 'open'])('a stream of %s, on both sides, at once', async (name) => {
    const [task, other] = [await stage.task(), await stage.task()];
    const streams = [task, other].map(({ handle }) => {
      const socket = dial(outbound());
      socket.write(
        requestBytes('GET', `http://${name}.test/stream`, {
          Host: `${name}.test`,
          'Proxy-Authorization': basic(handle),
        }),
      );
      return socket;
    });
    const [own, foreign] = streams;
    await Promise.all(streams.map((socket) => new Promise((done) => socket.once('data', done))));
    const cut = cutAtTool;
    let bytes = '';
    own?.on('data', (chunk: Buffer) => (bytes += chunk.toString()));
    const closed = new Promise<number>((done) => own?.once('close', () => done(performance.now())));
    const endedAt = performance.now();
    await end(task);
    expect((await closed) - endedAt).toBeLessThan(500);
    // A cut stream must not look complete.
    expect(bytes.endsWith('0\r\n\r\n')).toBe(false);
    await eventually('the tool’s side is cut', () => cutAtTool === cut + 1);
    await eventually('that is recorded', () =>
      eventsOf(task, 'call.admitted').some(({ id }) =>
        readRecord(stage.sidecar.eventsFile).some(
          (event) => event.event === 'call.ended' && event['id'] === id && event['outcome'] === 'cut',
        ),
      ),
    );
    expect(foreign?.destroyed).toBe(false);
    foreign?.destroy();
    await end(other);
  });
});

test('W4: a sidecar that is stopped takes all tokens back first', async () => {
  const tasks = await Promise.all(['a', 'b', 'c'].map((sub) => stage.task(sub)));
  for (const task of tasks) for (const name of ['crm', 'pay']) await use(task, name);
  expect(await stage.sidecar.stop()).toBe(0);
  const { issued, revoked } = stage.service;
  expect(issued.filter((token) => !revoked.includes(token))).toEqual([]);
});
