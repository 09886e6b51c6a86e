import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { expectRefused } from '../stage/refused-calls.ts';
import { callOperator, type ApiAnswer, type StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let before: readonly number[];

const touched = (): readonly number[] => [tool.seen.length, stage.service.counts.token];

beforeAll(async () => {
  tool = await openEchoTool();
  const { port } = tool;
  stage = await openStage({
    tools: {
      crm: { port },
      files: { port, more: { risk: 'write' } },
      pay: { port, proof: 'dpop', more: { risk: 'payment' } },
      wiki: { port },
      open: { port, token: false },
      shut: { port, token: false },
    },
    sections: {
      purposes: {
        reconcile: { tools: ['crm', 'files', 'open'], risk: 'read' },
        pay: { tools: ['crm', 'files', 'pay'], risk: 'payment' },
        'any risk': { tools: ['pay', 'crm'] },
        nothing: { tools: [] },
      },
      tasks: { deadline: '10m' },
    },
  });
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});
beforeEach(() => {
  before = touched();
});

async function ask(request: Record<string, unknown>): Promise<ApiAnswer> {
  const subject_token = await stage.service.subjectToken();
  return callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/tasks', { subject_token, ...request });
}

const use = (task: Pick<StagedTask, 'handle'>, name: string) =>
  callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/x`, { handle: task.handle });

async function codeOf(task: Pick<StagedTask, 'handle'>, name: string): Promise<unknown> {
  const { status, code } = await use(task, name);
  return code ?? status;
}

describe('W9: a task gets no more than its purpose allows', () => {
  test.for([
    [{}, ['crm', 'open']],
    [{ purpose: 'reconcile' }, ['crm', 'open']],
    [{ purpose: 'reconcile', tools: ['open'] }, ['open']],
    [{ purpose: 'reconcile', tools: [] }, []],
    [{ purpose: 'pay' }, ['crm', 'files', 'pay']],
    [{ purpose: 'any risk' }, ['pay', 'crm']],
    [{ purpose: 'nothing' }, []],
  ] as const)('%o opens %o', async ([request, tools]) => {
    const { status, body } = await ask(request);
    expect([status, body['state'], body['tools'], body['purpose']]).toEqual([
      201,
      'open',
      tools,
      'purpose' in request ? request.purpose : 'reconcile',
    ]);
    expect(body['subject']).toEqual({ iss: stage.service.issuer, sub: 'alice' });
    expect(body['proxy']).toBe(`http://task:${String(body['handle'])}@${stage.sidecar.addresses.outbound}`);
  });

  test.for([
    { purpose: 'reconcile', tools: ['files'] },
    { purpose: 'reconcile', tools: ['crm', 'wiki'] },
    { purpose: 'nothing', tools: ['crm'] },
    { purpose: 'Reconcile' },
    { purpose: 'reconcile ' },
    { purpose: 'constructor' },
    { purpose: '__proto__' },
  ])('%o opens nothing', async (request) => {
    const open = await stage.sidecar.metric('waybill_tasks_open');
    const { status, body } = await ask(request);
    expect([status, body['code'], await stage.sidecar.metric('waybill_tasks_open')]).toEqual([
      403,
      'purpose_not_allowed',
      open,
    ]);
  });

  test('and a call to any other tool is refused before any exchange', async () => {
    const task = (await ask({ tools: ['open'] })).body as unknown as StagedTask;
    const tried = await Promise.all(
      ['crm', 'files', 'pay', 'wiki', 'shut'].map(async (what) => ({ what, answer: await use(task, what) })),
    );
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'tool_not_in_task');
    expect(touched()).toEqual(before);
    expect(await codeOf(task, 'open')).toBe(200);
    // It is no replay: the handle is where it belongs, the tool is not.
    expect(
      await stage.sidecar.metric(
        'waybill_replays_blocked_total{way="out",reason="handle_foreign_tool",grade="proven"}',
      ),
    ).toBe(0);
  });
});

describe('W9: a sub-task gets no more than its parent has', () => {
  test('no other tool, and no later end', async () => {
    const parent = (await ask({ tools: ['crm'], deadline: '1m' })).body;
    const child = (await ask({ parent: parent['txn'], purpose: 'pay', deadline: '9m' })).body;
    expect([child['tools'], child['parent']]).toEqual([['crm'], parent['txn']]);
    expect(Date.parse(String(child['expires_at']))).toBeLessThanOrEqual(Date.parse(String(parent['expires_at'])));
    const task = child as unknown as StagedTask;
    expect([await codeOf(task, 'crm'), await codeOf(task, 'pay'), await codeOf(task, 'files')]).toEqual([
      200,
      'tool_not_in_task',
      'tool_not_in_task',
    ]);
  });

  test('it ends with its parent, and so do those below it', async () => {
    const parent = (await ask({})).body;
    const child = (await ask({ parent: parent['txn'] })).body;
    const grandchild = (await ask({ parent: child['txn'] })).body;
    const other = (await ask({})).body as unknown as StagedTask;
    for (const task of [parent, child, grandchild])
      expect(await codeOf(task as unknown as StagedTask, 'crm')).toBe(200);
    const ended = await callOperator(
      stage.sidecar.addresses.socket,
      'POST',
      `/v1/tasks/${String(parent['txn'])}/fail`,
      { reason: 'user left' },
    );
    expect(ended.body).toMatchObject({ state: 'failed', credentials_dropped: 3, revocations_queued: 3 });
    for (const task of [parent, child, grandchild])
      expect(await codeOf(task as unknown as StagedTask, 'crm')).toBe('handle_ended');
    expect(await codeOf(other, 'crm')).toBe(200);
    const causes = readRecord(stage.sidecar.eventsFile).filter(
      ({ event, txn }) => event === 'task.ended' && [parent, child, grandchild].some((task) => task['txn'] === txn),
    );
    expect(causes.map(({ cause }) => String(cause)).toSorted()).toEqual(['parent_ended', 'parent_ended', 'user left']);
  });

  test('nothing opens below a task that is over or was never there', async () => {
    const parent = (await ask({})).body;
    await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${String(parent['txn'])}/complete`);
    for (const txn of [parent['txn'], 'unknown', '']) {
      const { status, body } = await ask({ parent: txn });
      expect([status, body['code']]).toEqual([409, 'parent_not_open']);
    }
  });
});

describe('W9: a task lives no longer than it may', () => {
  const lifeOf = ({ body }: ApiAnswer): number =>
    (Date.parse(String(body['expires_at'])) - Date.parse(String(body['opened_at']))) / 1000;

  test('the configuration’s deadline is the longest, and shorter ones are kept', async () => {
    for (const [deadline, seconds] of [
      [undefined, 600],
      ['10m', 600],
      ['24h', 600],
      ['999999999h', 600],
      ['90s', 90],
      ['1500ms', 1.5],
    ] as const) {
      expect([deadline, lifeOf(await ask(deadline === undefined ? {} : { deadline }))]).toEqual([deadline, seconds]);
    }
  });

  test('at its deadline it is over, by itself', async () => {
    const { body } = await ask({ deadline: '1s' });
    const task = body as unknown as StagedTask;
    expect(await codeOf(task, 'crm')).toBe(200);
    await new Promise((done) => setTimeout(done, 1150));
    expect(await codeOf(task, 'crm')).toBe('handle_ended');
    const { body: seen } = await callOperator(stage.sidecar.addresses.socket, 'GET', `/v1/tasks/${task.txn}`);
    expect(seen).toMatchObject({ state: 'expired', cause: 'deadline' });
    expect(await stage.sidecar.metric('waybill_tasks_total{outcome="expired"}')).toBeGreaterThan(0);
  });
});

test('W8: a listing tells what tasks are, and never a handle', async () => {
  const handles: string[] = [];
  for (const request of [{}, { handles: 'per_tool' }, { purpose: 'pay' }]) {
    const { body } = await ask(request);
    handles.push(String(body['handle']), ...Object.values((body['handles'] ?? {}) as Record<string, string>));
  }
  expect(handles.length).toBe(5);
  const { socket } = stage.sidecar.addresses;
  const lists = await Promise.all(
    ['', '?state=open', '?state=completed', '?state=failed', '?state=expired', '?state=revoked'].map((query) =>
      callOperator(socket, 'GET', `/v1/tasks${query}`),
    ),
  );
  const [all = [], open = [], ...ended] = lists.map(({ body }) => body['tasks'] as Record<string, unknown>[]);
  expect(all.length).toBe(open.length + ended.flat().length);
  for (const task of all) {
    expect(task).toMatchObject({
      txn: expect.any(String),
      state: expect.any(String),
      subject: { sub: 'alice' },
      tools: expect.any(Array),
      opened_at: expect.any(String),
      expires_at: expect.any(String),
    });
    expect(task['state'] === 'open').toBe(task['ended_at'] === undefined);
    const one = await callOperator(socket, 'GET', `/v1/tasks/${String(task['txn'])}`);
    expect(one.body).toEqual(task);
  }
  const told = JSON.stringify(lists);
  expect(told).not.toMatch(/wbh_/);
  expect(handles.filter((handle) => told.includes(handle.slice(12, 40)))).toEqual([]);
});
