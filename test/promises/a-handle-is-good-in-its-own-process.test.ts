import { realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CallerProcess } from '../stage/caller-process.ts';
import { launcher } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { mayBeOthers } from '../stage/foreign-caller.ts';
import { basic, requestBytes } from '../stage/raw-call.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const node = realpathSync(process.execPath);
const foreign = '403 handle_foreign_peer';
const run = promisify(execFile);
let tool: EchoTool;
let stage: Stage;
const callers: CallerProcess[] = [];

beforeAll(async () => {
  tool = await openEchoTool();
  stage = await openStage({ tools: { crm: { port: tool.port } } });
});
afterEach(async () => {
  for (const started of callers.splice(0)) await started.end();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

async function caller(uid?: number): Promise<CallerProcess> {
  const started = await CallerProcess.start(stage.sidecar.addresses.outbound, uid);
  callers.push(started);
  return started;
}

const use = (handle: string): Buffer =>
  requestBytes('GET', 'http://crm.test/x', { Host: 'crm.test', 'Proxy-Authorization': basic(handle) });

describe.runIf(process.platform === 'linux')('W11: a handle that is bound to a process', () => {
  test('is good in that on every connection, and in no other of the same user', async () => {
    const [own, thief] = [await caller(), await caller()];
    const task = await stage.task('alice', { peer: { pid: own.pid } });
    const shown = await callOperator(stage.sidecar.addresses.socket, 'GET', `/v1/tasks/${task.txn}`);
    expect(shown.body['peer']).toEqual({ pid: own.pid, executable: node });
    const asked = tool.seen.length;
    const counted = 'waybill_replays_blocked_total{way="out",reason="handle_foreign_peer",grade="proven"}';
    const before = await stage.sidecar.metric(counted);
    expect([await own.ask('call', use(task.handle)), await own.ask('call', use(task.handle))]).toEqual(['200', '200']);
    expect(await thief.ask('call', use(task.handle))).toBe(foreign);
    expect(await own.ask('child', use(task.handle))).toBe(foreign);
    expect(await own.ask('call', use(task.handle))).toBe('200');
    expect([tool.seen.length - asked, (await stage.sidecar.metric(counted)) - before]).toEqual([3, 2]);
  });

  test('and in processes that descend from it, where that is said', async () => {
    const [own, thief] = [await caller(), await caller()];
    const task = await stage.task('alice', { peer: { pid: own.pid, descendants: true } });
    const seen = [
      await own.ask('call', use(task.handle)),
      await own.ask('child', use(task.handle)),
      await thief.ask('call', use(task.handle)),
      await thief.ask('child', use(task.handle)),
    ];
    expect(seen).toEqual(['200', '200', foreign, foreign]);
  });

  test('on a connection that its child inherited, and not on one that it inherited itself', async () => {
    const own = await caller();
    const task = await stage.task('alice', { peer: { pid: own.pid } });
    expect(await own.ask('share', use(task.handle))).toBe('200');
    const child = await own.lend();
    const ofChild = await stage.task('alice', { peer: { pid: child, descendants: true } });
    expect(await own.letCall(child, use(ofChild.handle))).toBe(foreign);
  });

  test('and not in the program that it becomes', async () => {
    const shell = CallerProcess.startShell(stage.sidecar.addresses.outbound);
    callers.push(shell);
    const bound = await stage.task('alice', { peer: { pid: shell.pid } });
    const named = await stage.task('alice', { peer: { executable: node } });
    await shell.become();
    expect([await shell.ask('call', use(bound.handle)), await shell.ask('call', use(named.handle))]).toEqual([
      foreign,
      '200',
    ]);
  });

  test('has to name one that is there, and what goes together', async () => {
    const before = await stage.sidecar.metric('waybill_tasks_open');
    const peers = [
      { pid: 4_194_304 },
      { pid: 0 },
      { pid: '1' },
      { executable: 'node' },
      { descendants: true },
      { uid: -1 },
      { user: 1 },
    ];
    for (const peer of [...peers, 'x'] as unknown[]) {
      const body = { subject_token: await stage.service.subjectToken({ sub: 'alice' }), peer };
      const answer = await callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/tasks', body);
      expect([peer, answer.status, answer.body['code']]).toEqual([peer, 400, 'request_invalid']);
    }
    const twice = { subject_token: await stage.service.subjectToken({ sub: 'alice' }), uid: 1, peer: { uid: 2 } };
    expect((await callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/tasks', twice)).status).toBe(400);
    expect(await stage.sidecar.metric('waybill_tasks_open')).toBe(before);
  });

  test.runIf(mayBeOthers)('of another user is found too, where the sidecar may look', async () => {
    const [own, thief] = [await caller(4242), await caller(4242)];
    const task = await stage.task('alice', { peer: { pid: own.pid, uid: 4242 } });
    expect([await own.ask('call', use(task.handle)), await thief.ask('call', use(task.handle))]).toEqual([
      '200',
      foreign,
    ]);
    const root = await caller();
    expect(await root.ask('call', use(task.handle))).toBe(foreign);
  });
});

test.runIf(process.platform === 'linux')('waybill tasks open binds to a process by hand', async () => {
  const own = await caller();
  const file = join(stage.dir, 'subject');
  writeFileSync(file, await stage.service.subjectToken({ sub: 'alice' }));
  const at = ['--socket', stage.sidecar.addresses.socket, '--subject-token-file', file];
  const args = ['tasks', 'open', '--json', ...at, '--pid', String(own.pid), '--descendants', '--executable', node];
  const { stdout } = await run(process.execPath, [launcher, ...args]);
  const { peer } = JSON.parse(stdout) as { peer: unknown };
  expect(peer).toEqual({ pid: own.pid, executable: node, descendants: true });
});
