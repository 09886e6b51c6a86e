import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { basic, callThrough, requestBytes } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused } from '../stage/refused-calls.ts';
import { exchangeAs, mayBeOthers } from '../stage/foreign-caller.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readFileSync } from 'node:fs';
import { readRecord } from '../stage/event-record.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

const own = process.getuid?.() ?? 0;
const other = own + 4242;
let tool: EchoTool;
let stage: Stage;

beforeAll(async () => {
  tool = await openEchoTool();
  const { port } = tool;
  stage = await openStage({
    tools: { crm: { port }, denied: { port } },
    sections: {
      rules: [
        { name: 'no', effect: 'deny', when: 'call.tool == "denied"' },
        { name: 'all', effect: 'allow', when: 'true' },
      ],
    },
  });
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

const outbound = (): string => stage.sidecar.addresses.outbound;
const use = (handle: string, host = 'crm.test') => callThrough(outbound(), `http://${host}/x`, { handle });
const replays = (reason: string) =>
  stage.sidecar.metric(`waybill_replays_blocked_total{way="out",reason="${reason}",grade="proven"}`);

describe('W11: a handle with a count of uses is good that often', () => {
  test('and then it is spent, until its task ends', async () => {
    const task = await stage.task('alice', { uses: 2 });
    const before = await replays('handle_spent');
    expect([(await use(task.handle)).status, (await use(task.handle)).status]).toEqual([200, 200]);
    const asked = tool.seen.length;
    const tried = [{ what: 'third', answer: await use(task.handle) }];
    const headers = { Host: 'crm.test', Authorization: `Bearer ${task.handle}` };
    tried.push({ what: 'header', answer: await callThrough(outbound(), 'http://crm.test/', { headers }) });
    const inside = { headers: { Host: 'crm.test' } };
    tried.push({ what: 'CONNECT', answer: await callInTunnel(outbound(), 'crm.test:80', task, inside) });
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'handle_spent');
    expect([tool.seen.length, await replays('handle_spent')]).toEqual([asked, before + tried.length]);
    expect(readRecord(stage.sidecar.eventsFile).at(-1)).toMatchObject({ txn: task.txn, subject: { sub: 'alice' } });
    await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${task.txn}/complete`);
    expect((await use(task.handle)).code).toBe('handle_ended');
  });

  test('of many calls at a time as many pass as it has uses, and a call that was refused used nothing', async () => {
    const task = await stage.task('alice', { uses: 3 });
    for (let round = 0; round < 5; round += 1)
      expect((await use(task.handle, 'denied.test')).code).toBe('denied_by_rule');
    const answers = await Promise.all(Array.from({ length: 20 }, () => use(task.handle)));
    expect(answers.filter(({ status }) => status === 200).length).toBe(3);
    expect(answers.filter(({ code }) => code === 'handle_spent').length).toBe(17);
  });

  test('each handle has its own, and one that is told twice in a call is used once', async () => {
    const task = await stage.task('alice', { uses: 1, handles: 'per_tool' });
    const twice = { 'Proxy-Authorization': basic(task.handle), Authorization: `Bearer ${task.handle}` };
    const both = await callThrough(outbound(), 'http://crm.test/', { headers: twice });
    expect([both.status, (await use(task.handle)).code]).toEqual([200, 'handle_spent']);
    expect((await use(task.handles['crm'] ?? '')).status).toBe(200);
    // Opening a tunnel is no use; what is called in it is.
    const tunnel = await stage.task('alice', { uses: 1 });
    const inside = { headers: { Host: 'crm.test' } };
    expect(await callInTunnel(outbound(), 'crm.test:80', tunnel, inside)).toMatchObject({ status: 200 });
    expect(await callInTunnel(outbound(), 'crm.test:80', tunnel, inside)).toMatchObject({ code: 'handle_spent' });
  });

  test('what is no count and no user id opens nothing', async () => {
    const before = await stage.sidecar.metric('waybill_tasks_open');
    for (const request of [
      { uses: 0 },
      { uses: -1 },
      { uses: 1.5 },
      { uses: '2' },
      { uid: -1 },
      { uid: 2 ** 32 },
      { uid: 'x' },
    ]) {
      const body = { subject_token: await stage.service.subjectToken({ sub: 'alice' }), ...request };
      const answer = await callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/tasks', body);
      expect([request, answer.status, answer.body['code']]).toEqual([request, 400, 'request_invalid']);
    }
    expect(await stage.sidecar.metric('waybill_tasks_open')).toBe(before);
  });
});

describe.runIf(process.platform === 'linux')(
  'W11: a handle that is bound to a user id is good on connections of that user',
  () => {
    test('and nobody else’s, in a header, as proxy credential, and in tunnels', async () => {
      const [mine, theirs] = [await stage.task('alice', { uid: own }), await stage.task('bob', { uid: other })];
      const before = await replays('handle_foreign_peer');
      const inside = { headers: { Host: 'crm.test' } };
      const header = (handle: string) => ({ headers: { Host: 'crm.test', Authorization: `Bearer ${handle}` } });
      const ways = (handle: string) => [
        () => use(handle),
        () => callThrough(outbound(), 'http://crm.test/', header(handle)),
        () => callInTunnel(outbound(), 'crm.test:80', { handle }, inside),
        () => callInTunnel(outbound(), 'crm.test:80', {}, header(handle)),
      ];
      for (const call of ways(mine.handle)) expect((await call()).status).toBe(200);
      const asked = tool.seen.length;
      const tried = [];
      for (const [at, call] of ways(theirs.handle).entries()) tried.push({ what: `way ${at}`, answer: await call() });
      await expectRefused(stage.sidecar.eventsFile, tried, 403, 'handle_foreign_peer');
      expect([tool.seen.length, await replays('handle_foreign_peer')]).toEqual([asked, before + tried.length]);
    });

    test('also inside TLS, where the connection is that around it', async () => {
      const certificate = await makeToolCertificate('secure.test');
      const secure = await openEchoTool({ tls: certificate });
      const tls = await openStage({
        tools: { secure: { port: secure.port, host: 'secure.test', ca: certificate.ca } },
      });
      try {
        const ca = readFileSync(tls.sidecar.caFile, 'utf8');
        const inside = { headers: { Host: 'secure.test' } };
        for (const [uid, status] of [
          [own, 200],
          [other, 403],
        ] as const) {
          const { handle } = await tls.task('alice', { uid });
          const headers = { Host: 'secure.test', Authorization: `Bearer ${handle}` };
          const through = { tls: { ca, serverName: 'secure.test' } };
          const { outbound: at } = tls.sidecar.addresses;
          expect((await callInTunnel(at, 'secure.test:443', through, { headers })).status).toBe(status);
          if (status === 200)
            expect((await callInTunnel(at, 'secure.test:443', { handle, ...through }, inside)).status).toBe(status);
        }
      } finally {
        await tls.close();
        await secure.close();
      }
    });

    test.runIf(mayBeOthers)('as a thief of another user finds out', async () => {
      const task = await stage.task('alice', { uid: other });
      const bytes = requestBytes('GET', 'http://crm.test/x', {
        Host: 'crm.test',
        'Proxy-Authorization': basic(task.handle),
      });
      expect(await exchangeAs(other, outbound(), bytes)).toBe('200');
      expect(await exchangeAs(other + 1, outbound(), bytes)).toBe('403 handle_foreign_peer');
      expect(await exchangeAs(other, outbound(), bytes)).toBe('200');
    });

    test('agent.uid binds every task: handle, trace and the standing one; a sub-task has that of its parent', async () => {
      for (const [uid, good] of [
        [own, true],
        [other, false],
      ] as const) {
        const bound = await openWayIn({
          name: 'invoice-bot',
          inbound: { present: 'handle' },
          tools: { crm: { port: tool.port, more: { on_behalf_of: 'any' } } },
          sections: {
            agent: { name: 'invoice-bot', purpose: 'reconcile', uid },
            tasks: { mode: 'detached', standing: { purpose: 'reconcile', tools: ['crm'] } },
          },
        });
        try {
          await (await bound.caller()).send();
          const { authorization, tracestate } = bound.program.seen.at(-1)!.headers;
          const call = (headers: Record<string, string>) =>
            callThrough(bound.sidecar.addresses.outbound, 'http://crm.test/', {
              headers: { Host: 'crm.test', ...headers },
            });
          const parent = await bound.task('alice', { uid: own });
          const child = await bound.task('alice', { parent: parent.txn });
          const seen = [
            await call({ Authorization: String(authorization) }),
            await call({ tracestate: String(tracestate) }),
            await call({}),
            await call({ Authorization: `Bearer ${child.handle}` }),
          ];
          expect(seen.map(({ status, code }) => code ?? status)).toEqual(
            good ? [200, 200, 200, 200] : ['handle_foreign_peer', 'handle_foreign_peer', 'task_unknown', 200],
          );
        } finally {
          await bound.close();
        }
      }
    });
  },
);
