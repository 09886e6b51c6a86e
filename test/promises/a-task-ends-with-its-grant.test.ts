import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import type { Lie } from '../fakes/token-service-lies.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';
import { type EchoTool, openEchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { callOperator, openTask, type StagedTask } from '../stage/sidecar-process.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const secret = 'the-secret-of-this-test';
let tool: EchoTool;
let foreign: FakeTokenService;
let stage: Stage;
let subjectToken = '';
let task: StagedTask;

/** Tools of four services: the issuer of the users' tokens, the same one without introspection, and another one. */
beforeAll(async () => {
  tool = await openEchoTool();
  foreign = await openFakeTokenService({ secret });
  const dir = mkdtempSync(join(tmpdir(), 'waybill-grant-'));
  const client = {
    client_auth: 'client_secret_basic',
    client_id: 'invoice-bot',
    client_secret_file: join(dir, 'client-secret'),
  };
  const from = (service: string, name: string) => ({
    port: tool.port,
    more: { token: { from: service, audience: name, scopes: [`${name}.read`] } },
  });
  stage = await openStage({
    dir,
    service: { secret },
    tools: {
      crm: { port: tool.port },
      mail: { port: tool.port },
      silent: from('silent', 'silent'),
      foreign: from('foreign', 'foreign'),
    },
    sections: ({ issuer }) => ({
      token_services: {
        corp: { issuer, ...client },
        silent: { issuer, ...client, endpoints: { token: `${issuer}/token`, jwks: `${issuer}/jwks` } },
        foreign: { issuer: foreign.issuer, ...client },
      },
    }),
  });
});
afterAll(async () => {
  await stage?.close();
  await foreign.close();
  await tool.close();
});

beforeEach(async () => {
  stage.service.lie = undefined;
  foreign.lie = undefined;
  subjectToken = await stage.service.subjectToken();
  task = await openTask(stage.sidecar, { subject_token: subjectToken });
});

const use = (name: string): Promise<RawAnswer> =>
  callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/x`, { handle: task.handle });

async function state(): Promise<unknown> {
  const { body } = await callOperator(stage.sidecar.addresses.socket, 'GET', `/v1/tasks/${task.txn}`);
  return body['state'];
}

/** The user's session is over: the service refuses to exchange her token, and says why if it is asked. */
function logOut(lie: Lie): void {
  stage.service.revoked.push(subjectToken);
  stage.service.lie = lie;
}

test.for(['invalid_grant', 'invalid_request'] as const)(
  'the issuer refuses with %s, and says that the subject token is over: the task ends',
  async (lie) => {
    const child = await openTask(stage.sidecar, {
      subject_token: await stage.service.subjectToken(),
      parent: task.txn,
    });
    expect((await use('crm')).status).toBe(200);
    const own = stage.service.issued.at(-1) ?? '';
    logOut(lie);
    const answer = await use('mail');
    expect([answer.status, answer.code]).toEqual([403, 'grant_dead']);
    expect(await state()).toBe('revoked');
    // The token that was there goes back too, and what holds the handle is told that it is over; nobody is asked any more.
    const asked = stage.service.counts.token;
    for (const name of ['crm', 'mail']) expect((await use(name)).code).toBe('handle_ended');
    expect(stage.service.counts.token).toBe(asked);
    await eventually('the token goes back', () => stage.service.revoked.includes(own));
    const ends = readRecord(stage.sidecar.eventsFile).filter(
      ({ event, txn }) => event === 'task.ended' && [task.txn, child.txn].includes(String(txn)),
    );
    expect(ends).toMatchObject([
      { txn: child.txn, state: 'revoked', cause: 'parent_ended' },
      { txn: task.txn, state: 'revoked', cause: 'grant_dead', by: 'token_service' },
    ]);
  },
);

test.for(['invalid_grant', 'invalid_request'] as const)(
  'the issuer refuses with %s, and says that the subject token is good: only the call is refused',
  async (lie) => {
    stage.service.lie = lie;
    const answer = await use('crm');
    expect([answer.status, answer.code, await state()]).toEqual([403, 'grant_dead', 'open']);
  },
);

test.for([
  ['invalid_grant', 'revoked'],
  ['invalid_request', 'open'],
] as const)('an issuer that cannot be asked, and refuses with %s: the task is %s', async ([lie, end]) => {
  logOut(lie);
  const answer = await use('silent');
  expect([answer.status, answer.code, await state()]).toEqual([403, 'grant_dead', end]);
});

test('an issuer that lets our client exchange no tokens says nothing of the user: the task goes on', async () => {
  logOut('exchange_off');
  const answer = await use('crm');
  expect([answer.status, answer.code, await state()]).toEqual([403, 'exchange_refused', 'open']);
  expect(answer.body).toContain('does not let this client exchange tokens (invalid_request)');
  expect(answer.body + stage.sidecar.output()).not.toContain('Standard token exchange');
  const lines = stage.sidecar.output().split('\n');
  expect(lines.filter((line) => line.includes('does not let this client exchange tokens'))).toHaveLength(1);
});

test('what may be the session or the right of our client is told as both', async () => {
  stage.service.lie = 'invalid_request';
  const both = 'is no longer valid or that this client may not exchange tokens (invalid_request)';
  expect((await use('crm')).body).toContain(both);
  expect(stage.sidecar.output()).toContain(both);
});

test('a service that did not issue the subject token ends nothing', async () => {
  foreign.lie = 'invalid_grant';
  const answer = await use('foreign');
  expect([answer.status, answer.code, await state()]).toEqual([403, 'grant_dead', 'open']);
  expect((await use('crm')).status).toBe(200);
});

test('a caller who waits for the agent is told by it; one who has a part of the answer already is cut off', async () => {
  let inside: WayInStage | undefined;
  const ask = (handle: string) =>
    callThrough(inside?.sidecar.addresses.outbound ?? '', 'http://crm.test/x', { handle });
  inside = await openWayIn({
    tools: { crm: { port: tool.port } },
    service: { secret },
    inbound: { present: 'handle' },
    answer: ({ path, headers }, response) => {
      if (path === '/stream') response.write('the beginning');
      void (async () => {
        const { code } = await ask(String(headers.authorization).slice('Bearer '.length));
        if (path === '/stream') await sleep(300);
        response.end(code);
      })();
    },
  });
  try {
    const { service } = inside;
    const caller = await inside.caller();
    service.revoked.push(caller.token);
    service.lie = 'invalid_request';
    const told = await caller.send({ path: '/answer' });
    expect([told.status, told.body]).toEqual([200, 'grant_dead']);
    await expect(caller.send({ path: '/stream' })).rejects.toThrow('the connection was closed');
    const { eventsFile } = inside.sidecar;
    const ends = () => readRecord(eventsFile).filter(({ event }) => event === 'task.ended');
    await eventually('both ended', () => ends().length === 2);
    expect(ends().map(({ cause }) => cause)).toEqual(['grant_dead', 'grant_dead']);
    const outcomes = readRecord(eventsFile).filter(({ event }) => event === 'call.ended');
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['ok', 'cut']);
  } finally {
    await inside.close();
  }
});
