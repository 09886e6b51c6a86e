import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CallerProcess } from '../stage/caller-process.ts';
import { launcher, Running } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { mayBeOthers } from '../stage/foreign-caller.ts';
import { askOwnDoor } from '../stage/own-door.ts';
import { basic, callThrough, requestBytes } from '../stage/raw-call.ts';
import { callOperator, openTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const node = realpathSync(process.execPath);
const foreign = '403 handle_foreign_peer';
let tool: EchoTool;
const callers: CallerProcess[] = [];

function open(sections: Record<string, unknown> = {}): Promise<Stage> {
  const { port } = tool;
  const purposes = { reconcile: { tools: ['crm'] } };
  return openStage({ tools: { crm: { port } }, sections: { purposes, ...sections } });
}

beforeAll(async () => {
  tool = await openEchoTool();
});
afterEach(async () => {
  for (const started of callers.splice(0)) await started.end();
});
afterAll(async () => {
  await tool?.close();
});

async function caller(at: Stage, uid?: number): Promise<CallerProcess> {
  const started = await CallerProcess.start(at.sidecar.addresses.outbound, uid);
  callers.push(started);
  return started;
}

const use = (handle: string): Buffer =>
  requestBytes('GET', 'http://crm.test/x', { Host: 'crm.test', 'Proxy-Authorization': basic(handle) });

/** Runs with a sidecar of other settings. */
async function within(sections: Record<string, unknown>, work: (at: Stage) => Promise<void>): Promise<void> {
  const at = await open(sections);
  try {
    await work(at);
  } finally {
    for (const started of callers.splice(0)) await started.end();
    await at.close();
  }
}

describe.runIf(process.platform === 'linux')('W11: with tasks.bind', () => {
  test('process, who comes first is who may', async () => {
    await within({ tasks: { bind: 'process' } }, async (at) => {
      const [own, thief] = [await caller(at), await caller(at)];
      const task = await at.task();
      const child = await at.task('alice', { parent: task.txn });
      expect(await own.ask('call', use(task.handle))).toBe('200');
      expect(await thief.ask('call', use(task.handle))).toBe(foreign);
      expect(await own.ask('child', use(task.handle))).toBe(foreign);
      expect(await own.ask('call', use(task.handle))).toBe('200');
      // A sub-task opened before has its own first; one opened behind has that of its parent.
      expect(await thief.ask('call', use(child.handle))).toBe('200');
      const late = await at.task('alice', { parent: task.txn });
      expect([await thief.ask('call', use(late.handle)), await own.ask('call', use(late.handle))]).toEqual([
        foreign,
        '200',
      ]);
    });
  });

  test('process_tree, its children may as well, and no parent', async () => {
    await within({ tasks: { bind: 'process_tree' } }, async (at) => {
      const [own, thief] = [await caller(at), await caller(at)];
      const [task, other] = [await at.task(), await at.task()];
      expect(await own.ask('call', use(task.handle))).toBe('200');
      expect(await own.ask('child', use(task.handle))).toBe('200');
      expect(await thief.ask('child', use(task.handle))).toBe(foreign);
      expect(await own.ask('child', use(other.handle))).toBe('200');
      expect(await own.ask('call', use(other.handle))).toBe(foreign);
    });
  });

  test.runIf(mayBeOthers)('uid, whoever is the user of the first', async () => {
    await within({ tasks: { bind: 'uid' } }, async (at) => {
      const [own, same, thief] = [await caller(at, 4242), await caller(at, 4242), await caller(at, 4243)];
      const task = await at.task();
      const seen = [own, same, thief, own].map((one) => () => one.ask('call', use(task.handle)));
      const answers: string[] = [];
      for (const ask of seen) answers.push(await ask());
      expect(answers).toEqual(['200', '200', foreign, '200']);
    });
  });

  test('process, the standing task is bound to nobody: it outlives the processes of the agent', async () => {
    const standing = { purpose: 'reconcile', tools: ['crm'] };
    const crm = { port: tool.port, more: { on_behalf_of: 'any' } };
    const at = await openStage({ tools: { crm }, sections: { tasks: { bind: 'process', standing } } });
    try {
      const without = requestBytes('GET', 'http://crm.test/x', { Host: 'crm.test' });
      for (const one of [await caller(at), await caller(at)]) expect(await one.ask('call', without)).toBe('200');
    } finally {
      for (const started of callers.splice(0)) await started.end();
      await at.close();
    }
  });

  test('a task that the agent opens is bound to the process that opened it', async () => {
    await within({ tasks: { bind: 'process' } }, async (at) => {
      const { outbound } = at.sidecar.addresses;
      const opened = await askOwnDoor(outbound, '/v1/tasks', {
        subject_token: await at.service.subjectToken({ sub: 'a' }),
      });
      const { txn, handle, peer } = JSON.parse(opened.body) as { txn: string; handle: string; peer: unknown };
      expect([opened.status, peer]).toEqual([201, { pid: process.pid, executable: node }]);
      expect(await (await caller(at)).ask('call', use(handle))).toBe(foreign);
      // What it opens within that task is bound as closely.
      const ofParent = async (asked: object) =>
        askOwnDoor(
          outbound,
          '/v1/tasks',
          { subject_token: await at.service.subjectToken({ sub: 'a' }), parent: txn, ...asked },
          { Authorization: `Bearer ${handle}` },
        );
      expect(JSON.parse((await ofParent({})).body)).toMatchObject({ peer });
      const wider = [{ pid: process.pid, descendants: true }, { pid: process.ppid }, { executable: '/usr/bin/true' }];
      const answers = [];
      for (const one of wider) answers.push((await ofParent({ peer: one })).code);
      expect(answers).toEqual(['request_invalid', 'request_invalid', undefined]);
      expect((await callThrough(outbound, 'http://crm.test/x', { handle })).status).toBe(200);
    });
  });
});

test.runIf(process.platform === 'linux')('W11: agent.executable binds every task to those who run it', async () => {
  const standing = { standing: { purpose: 'reconcile', tools: ['crm'] } };
  for (const [executable, status] of [
    [node, ['200', '200']],
    ['/usr/bin/true', [foreign, '407 task_unknown']],
  ] as const) {
    const agent = { name: 'invoice-bot', purpose: 'reconcile', executable };
    const more = { port: tool.port, more: { on_behalf_of: 'any' } };
    const at = await openStage({ tools: { crm: more }, sections: { agent, tasks: standing } });
    try {
      const own = await caller(at);
      const without = requestBytes('GET', 'http://crm.test/x', { Host: 'crm.test' });
      const seen = [await own.ask('call', use((await at.task()).handle)), await own.ask('call', without)];
      expect([executable, seen]).toEqual([executable, status]);
    } finally {
      for (const started of callers.splice(0)) await started.end();
      await at.close();
    }
  }
});

/** From util-linux. */
const program = 'unshare';
const apart = ['--pid', '--fork', '--kill-child', '--mount-proc'];
const mayBeApart = process.platform === 'linux' && spawnSync(program, [...apart, 'true']).status === 0;

test.runIf(mayBeApart)(
  'W1: where the processes of the agent are not seen, nothing that is bound to one passes',
  async () => {
    const at = await open({ tasks: { bind: 'process' } });
    const uses = await at.task();
    expect(
      (await callThrough(at.sidecar.addresses.outbound, 'http://crm.test/x', { handle: uses.handle })).status,
    ).toBe(200);
    await at.sidecar.stop();
    const config = join(at.dir, 'waybill.yaml');
    const hidden = new Running(program, [...apart, process.execPath, launcher, 'run', '--config', config]);
    try {
      const { addresses } = await hidden.ready();
      const asked = new Running(program, [...apart, process.execPath, launcher, 'doctor', '--config', config]);
      expect(await asked.finished).toMatchObject({
        code: 1,
        stdout: expect.stringMatching(/^failed +binding .*shareProcessNamespace/m),
      });
      expect(hidden.stderr).toMatch(/shareProcessNamespace.*processes of the agent are not told apart/);
      const { outbound = '', socket = '' } = addresses;
      const token = (): Promise<string> => at.service.subjectToken({ sub: 'alice' });
      const { handle } = await openTask({ addresses: { socket } } as Stage['sidecar'], {
        subject_token: await token(),
      });
      const answer = await callThrough(outbound, 'http://crm.test/x', { handle });
      expect([answer.status, answer.code]).toEqual([403, 'handle_foreign_peer']);
      expect(answer.body).toContain('CAP_SYS_PTRACE');
      const own = await askOwnDoor(outbound, '/v1/tasks', { subject_token: await token() });
      expect([own.status, own.code]).toEqual([403, 'peer_not_allowed']);
      const body = { subject_token: await token(), peer: { pid: process.pid } };
      expect((await callOperator(socket, 'POST', '/v1/tasks', body)).status).toBe(400);
    } finally {
      hidden.child.kill('SIGKILL');
      await hidden.finished;
      await at.close();
    }
  },
);
