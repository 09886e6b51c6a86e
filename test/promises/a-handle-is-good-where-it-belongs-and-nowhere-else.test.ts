import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { basic, dial, exchangeOn, exchangeRaw, openTunnel, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, callIdOf } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let alice: StagedTask;
let bob: StagedTask;
let carol: StagedTask;

beforeAll(async () => {
  tool = await openEchoTool();
  const { port } = tool;
  stage = await openStage({
    tools: {
      crm: { port },
      files: { port },
      keyed: { port, more: { handle_header: 'X-Crm-Key' } },
      open: { port, token: false },
    },
  });
  alice = await stage.task('alice');
  bob = await stage.task('bob');
  carol = await stage.task('carol', { handles: 'per_tool' });
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});

const outbound = (): string => stage.sidecar.addresses.outbound;

function send(headers: Record<string, string>, host = 'crm.test'): Promise<RawAnswer> {
  return exchangeRaw(outbound(), requestBytes('GET', `http://${host}/x`, { Host: host, ...headers }));
}

/** For whom the tool was called last. */
function lastSubject(): string {
  return decodeJwt((tool.seen.at(-1)?.headers.authorization ?? '').replace(/^\w+ /, '')).sub ?? '';
}

const replays = (reason: string, grade: string) =>
  stage.sidecar.metric(`waybill_replays_blocked_total{way="out",reason="${reason}",grade="${grade}"}`);

describe('W11: a handle for one tool, used at another, is a proven replay', () => {
  test('refused and counted once, whichever way it comes', async () => {
    const crm = carol.handles['crm'] ?? '';
    expect(Object.keys(carol.handles).toSorted()).toEqual(['crm', 'files', 'keyed', 'open']);
    const ways: (readonly [string, () => Promise<RawAnswer>])[] = [
      ['Authorization', () => send({ Authorization: `Bearer ${crm}` }, 'files.test')],
      ['proxy', () => send({ 'Proxy-Authorization': basic(crm) }, 'files.test')],
      ['a tool without credential', () => send({ 'x-api-key': crm }, 'open.test')],
      [
        'beside the right one',
        () => send({ 'x-api-key': crm, Authorization: `Bearer ${carol.handles['files'] ?? ''}` }, 'files.test'),
      ],
      [
        'beside the right one, in the other order',
        () => send({ 'x-api-key': carol.handles['files'] ?? '', 'Proxy-Authorization': basic(crm) }, 'files.test'),
      ],
      [
        'beside the task’s own',
        () => send({ Authorization: `Bearer ${crm}`, 'Proxy-Authorization': basic(carol.handle) }, 'files.test'),
      ],
      [
        'CONNECT',
        () =>
          exchangeRaw(
            outbound(),
            requestBytes('CONNECT', 'files.test:443', { Host: 'files.test:443', 'Proxy-Authorization': basic(crm) }),
          ),
      ],
      [
        'mount',
        () => exchangeRaw(outbound(), requestBytes('GET', '/tools/files/x', { Host: outbound(), 'x-api-key': crm })),
      ],
      [
        'inside a tunnel',
        () =>
          callInTunnel(
            outbound(),
            'files.test:80',
            {},
            { headers: { Host: 'files.test', Authorization: `Bearer ${crm}` } },
          ),
      ],
    ];
    const [seen, asked] = [tool.seen.length, stage.service.counts.token];
    for (const [what, way] of ways) {
      const before = await replays('handle_foreign_tool', 'proven');
      const answer = await way();
      expect([what, answer.status, answer.code, await replays('handle_foreign_tool', 'proven')]).toEqual([
        what,
        403,
        'handle_foreign_tool',
        before + 1,
      ]);
      const events = readRecord(stage.sidecar.eventsFile).filter(({ id }) => id === callIdOf(answer));
      expect(events).toMatchObject([
        { event: 'call.refused', stage: 'identify', replay: { reason: 'handle_foreign_tool', grade: 'proven' } },
      ]);
    }
    expect([tool.seen.length, stage.service.counts.token]).toEqual([seen, asked]);
  });

  test('while at its own tool it is good, and the task’s own handle is good at all', async () => {
    for (const name of ['crm', 'files', 'open'] as const) {
      expect((await send({ Authorization: `Bearer ${carol.handles[name] ?? ''}` }, `${name}.test`)).status).toBe(200);
      expect((await send({ 'Proxy-Authorization': basic(carol.handle) }, `${name}.test`)).status).toBe(200);
    }
  });
});

describe('W11: what is on the connection says nothing about the call', () => {
  test('calls of several tasks on one kept connection each go out for their own', async () => {
    const socket = dial(outbound());
    const subjects: string[] = [];
    for (const task of [alice, bob, carol, bob, alice]) {
      const answer = await exchangeOn(
        socket,
        requestBytes('GET', 'http://crm.test/x', { Host: 'crm.test', 'Proxy-Authorization': basic(task.handle) }),
      );
      subjects.push(answer.status === 200 ? lastSubject() : String(answer.code));
    }
    const none = await exchangeOn(socket, requestBytes('GET', 'http://crm.test/x', { Host: 'crm.test' }));
    socket.destroy();
    expect([subjects, none.code]).toEqual([['alice', 'bob', 'carol', 'bob', 'alice'], 'task_unknown']);
  });

  test('the credential of a CONNECT holds for its tunnel, and its event says by which rung', async () => {
    const socket = await openTunnel(outbound(), 'crm.test:80', { handle: alice.handle });
    const inside = (headers: Record<string, string>) =>
      exchangeOn(socket, requestBytes('GET', '/rungs', { Host: 'crm.test', ...headers }));
    expect([(await inside({})).status, lastSubject()]).toEqual([200, 'alice']);
    expect([(await inside({ Authorization: `Bearer ${alice.handle}` })).status, lastSubject()]).toEqual([200, 'alice']);
    expect((await inside({ Authorization: `Bearer ${bob.handle}` })).code).toBe('task_conflict');
    expect((await inside({ 'Proxy-Authorization': basic(bob.handle) })).code).toBe('task_conflict');
    expect((await inside({ 'Proxy-Authorization': basic(alice.handle) })).status).toBe(200);
    socket.destroy();
    await send({}, 'open.test');
    const rungs = readRecord(stage.sidecar.eventsFile).filter(
      ({ event, target }) => event === 'call.admitted' && ['/rungs'].includes((target as { path: string }).path),
    );
    expect(rungs.slice(0, 2).map(({ task_by: by }) => by)).toEqual(['proxy', 'handle']);
  });
});
