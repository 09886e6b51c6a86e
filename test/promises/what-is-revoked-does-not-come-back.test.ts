import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { launcher, Running, runWaybill } from '../stage/command-line.ts';
import { openStreamTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { basic, callThrough, dial, requestBytes } from '../stage/raw-call.ts';
import { callOperator, type StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;

beforeAll(async () => {
  tool = await openStreamTool();
});
afterAll(() => tool.close());

/** A stage for each test: what one revokes must not be what another needs. */
beforeEach(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-kill-'));
  writeFileSync(join(dir, 'key'), 'static-key-of-the-tool');
  stage = await openStage({
    dir,
    tools: {
      crm: { port: tool.port },
      files: { port: tool.port },
      open: { port: tool.port, token: false },
      own: { port: tool.port, more: { on_behalf_of: 'any' } },
      brokered: { port: tool.port, token: false, more: { secret: { file: join(dir, 'key'), in: 'header' } } },
    },
    sections: { tasks: { standing: { purpose: 'housekeeping', tools: ['own'] } } },
  });
  return () => stage.close();
});

const use = ({ handle }: Pick<StagedTask, 'handle'>, name = 'crm', path = '/x') =>
  callThrough(stage.sidecar.addresses.outbound, `http://${name}.test${path}`, { handle });
const api = (method: string, path: string, body?: unknown) =>
  callOperator(stage.sidecar.addresses.socket, method, path, body);
const revoke = (what: Record<string, unknown>, reason = 'laptop stolen') =>
  api('POST', '/v1/revoke', { ...what, reason });
const tryOpen = (subject_token: string) => api('POST', '/v1/tasks', { subject_token });
const opensWithNew = async (sub: string): Promise<number> => {
  // `iat` has whole seconds: what was issued in the second of the revocation counts as before.
  await sleep(1100);
  return (await tryOpen(await stage.service.subjectToken({ sub }))).status;
};

/** A stream of a task at a tool that has begun to flow. */
async function stream({ handle }: StagedTask, name: string): Promise<{ socket: Socket; closed: Promise<void> }> {
  const socket = dial(stage.sidecar.addresses.outbound);
  const host = `${name}.test`;
  socket.write(requestBytes('GET', `http://${host}/stream`, { Host: host, 'Proxy-Authorization': basic(handle) }));
  await new Promise((done) => socket.once('data', done));
  socket.resume();
  return { socket, closed: new Promise<void>((done) => socket.once('close', () => done())) };
}

describe('W11: the kill switch ends what is open, takes its tokens back, and keeps what was issued before out', () => {
  test('of one user: streams, tokens, handles and the old token; others go on', async () => {
    const old = await stage.service.subjectToken({ sub: 'alice' });
    const tasks = [await stage.task('alice'), await stage.task('alice')];
    const other = await stage.task('bob');
    for (const task of [...tasks, other]) await use(task);
    const own = stage.service.issued.slice(0, 2);
    const [cut, kept] = [await stream(tasks[0]!, 'crm'), await stream(other, 'crm')];
    const startedAt = performance.now();
    const answer = await revoke({ subject: { iss: stage.service.issuer, sub: 'alice' } });
    expect(answer).toEqual({ status: 200, body: { tasks: 2, credentials: 2 } });
    await cut.closed;
    expect(performance.now() - startedAt).toBeLessThan(500);
    await eventually('the tokens go back', () => own.every((token) => stage.service.revoked.includes(token)));
    for (const task of tasks) expect((await use(task)).code).toBe('handle_ended');
    expect([(await use(other)).status, kept.socket.destroyed]).toEqual([200, false]);
    kept.socket.destroy();
    expect((await tryOpen(old)).body).toMatchObject({ status: 403, code: 'subject_revoked' });
    expect((await tryOpen(await stage.service.subjectToken({ sub: 'alice', iat: undefined }))).status).toBe(403);
    expect((await stage.task('bob')).handle).toMatch(/^wbh_/);
    expect(await opensWithNew('alice')).toBe(201);
    const events = readRecord(stage.sidecar.eventsFile);
    const ends = events.filter(({ event, state }) => event === 'task.ended' && state === 'revoked');
    expect(ends.map(({ cause, by }) => [cause, by])).toEqual(tasks.map(() => ['laptop stolen', 'operator_api']));
    expect(events.filter(({ event }) => event === 'principal.revoked')).toMatchObject([
      { principal: { kind: 'subject', sub: 'alice' }, cause: 'laptop stolen', tasks: 2, credentials: 2 },
    ]);
    const counted = 'waybill_revocations_total{cause="revoked",outcome="revoked"}';
    expect(await stage.sidecar.metric(counted)).toBe(2);
  });

  test('of one task, and of its sub-tasks, and of nothing else', async () => {
    const task = await stage.task('alice');
    const child = await stage.task('alice', { parent: task.txn });
    const other = await stage.task('alice');
    await use(child);
    expect((await revoke({ task: task.txn })).body).toEqual({ tasks: 2, credentials: 1 });
    expect([(await use(child)).code, (await use(other)).status]).toEqual(['handle_ended', 200]);
    expect((await revoke({ task: task.txn })).body).toMatchObject({ status: 409, code: 'task_not_open' });
    expect((await revoke({ task: 'nobody' })).status).toBe(404);
  });

  test.for(['crm', 'brokered'])(
    'of one tool (%s): its credentials leave all tasks, which go on without it',
    async (name) => {
      const old = await stage.service.subjectToken({ sub: 'alice' });
      const tasks = [await stage.task('alice'), await stage.task('bob')];
      for (const task of tasks) for (const each of [name, 'files']) expect((await use(task, each)).status).toBe(200);
      const [cut, kept] = [await stream(tasks[0]!, name), await stream(tasks[0]!, 'files')];
      const credentials = name === 'crm' ? 2 : 0;
      const asked = stage.service.counts.token;
      expect((await revoke({ tool: name })).body).toEqual({ tasks: 0, credentials });
      await cut.closed;
      expect(kept.socket.destroyed).toBe(false);
      kept.socket.destroy();
      await eventually('the tokens go back', () => stage.service.revoked.length === credentials);
      for (const task of tasks) {
        expect((await use(task, name)).code).toBe('grant_dead');
        expect((await use(task, 'files')).status).toBe(200);
      }
      // A task that is opened with a token from before is one of the rest, and gets nothing for this tool either.
      const late = (await tryOpen(old)).body as unknown as StagedTask;
      expect([(await use(late, name)).code, (await use(late, 'files')).status]).toEqual(['grant_dead', 200]);
      await sleep(1100);
      expect((await use(await stage.task('alice'), name)).status).toBe(200);
      expect(stage.service.counts.token).toBe(asked + 1 + credentials / 2);
      expect((await revoke({ tool: 'open' })).status).toBe(400);
      expect((await revoke({ tool: 'nothing' })).body).toMatchObject({ code: 'tool_unknown' });
    },
  );

  test.for([
    ['the agent here, by its name', { agent: 'invoice-bot' }, 3],
    ['an actor of the token', { agent: 'spiffe://example.org/planner' }, 1],
    ['an actor that its issuer names otherwise', { agent: 'tenant/bot' }, 1],
    ['everything', { all: true }, 3],
  ] as const)('of %s', async ([, what, tasks]) => {
    const acted = { sub: 'carol', act: { sub: 'spiffe://example.org/planner', act: { sub: 'tenant/bot' } } };
    const old = await stage.service.subjectToken(acted);
    const opened = (await tryOpen(await stage.service.subjectToken(acted))).body as unknown as StagedTask;
    const plain = await stage.task('bob');
    const standing = () => callThrough(stage.sidecar.addresses.outbound, 'http://own.test/x', {});
    expect((await standing()).status).toBe(200);
    expect((await revoke(what)).body).toMatchObject({ tasks });
    expect((await use(opened)).code).toBe('handle_ended');
    expect((await use(plain)).status === 200).toBe(tasks === 1);
    expect((await standing()).status === 200).toBe(tasks === 1);
    expect((await tryOpen(old)).status).toBe(403);
    expect(await opensWithNew('bob')).toBe(201);
  });

  test('also after a restart; what cannot be read stops the start', async () => {
    const old = await stage.service.subjectToken({ sub: 'alice' });
    await revoke({ subject: { iss: stage.service.issuer, sub: 'alice' } });
    await revoke({ agent: 'invoice-bot' });
    const file = join(stage.dir, 'revocations.json');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await stage.sidecar.kill();
    await stage.restart();
    expect((await tryOpen(old)).status).toBe(403);
    expect((await callThrough(stage.sidecar.addresses.outbound, 'http://own.test/x', {})).status).toBe(407);
    expect(await opensWithNew('alice')).toBe(201);
    await stage.sidecar.stop();
    const content = readFileSync(file, 'utf8');
    for (const broken of [content.slice(0, -20), '', content.replace('"subject"', '"subjekt"')]) {
      writeFileSync(file, broken);
      const started = new Running(process.execPath, [launcher, 'run', '--config', join(stage.dir, 'waybill.yaml')]);
      const { code, stderr } = await started.finished;
      expect([code, stderr.includes('revocations.json')]).toEqual([64, true]);
    }
    writeFileSync(file, content);
    await stage.restart();
  });

  test('a revocation that cannot be kept is done, and said to be lost at a restart', async () => {
    const task = await stage.task('alice');
    // In the place of the file that is written first.
    mkdirSync(join(stage.dir, 'revocations.json.part'));
    expect((await revoke({ all: true })).body).toMatchObject({ status: 500, code: 'revocation_not_kept' });
    expect((await use(task)).code).toBe('handle_ended');
    rmdirSync(join(stage.dir, 'revocations.json.part'));
    expect((await revoke({ all: true })).status).toBe(200);
  });
});

test('what cannot be understood revokes nothing', async () => {
  const task = await stage.task('alice');
  const wrong: readonly unknown[] = [
    undefined,
    {},
    { all: true },
    { reason: 'x' },
    { all: false, reason: 'x' },
    { all: true, tool: 'crm', reason: 'x' },
    { subject: 'alice', reason: 'x' },
    { subject: { sub: 'alice' }, reason: 'x' },
    { everything: true, reason: 'x' },
    { all: true, reason: '' },
  ];
  for (const body of wrong)
    expect((await api('POST', '/v1/revoke', body)).body).toMatchObject({ code: 'request_invalid' });
  expect((await api('GET', '/v1/revoke')).status).toBe(405);
  expect((await use(task)).status).toBe(200);
});

test('waybill revoke does it by hand', async () => {
  const task = await stage.task('alice');
  const run = (...args: string[]) => runWaybill(['revoke', ...args, '--socket', stage.sidecar.addresses.socket]);
  for (const args of [
    ['--all'],
    ['--reason', 'x'],
    ['--all', '--tool', 'crm', '--reason', 'x'],
    ['--subject', 'a', '--reason', 'x'],
  ])
    expect((await run(...args)).code).toBe(64);
  expect((await use(task)).status).toBe(200);
  const revoked = await run(
    '--subject',
    'alice',
    '--issuer',
    stage.service.issuer,
    '--reason',
    'left the company',
    '--json',
  );
  expect([revoked.code, JSON.parse(revoked.stdout)]).toEqual([0, { tasks: 1, credentials: 1 }]);
  expect((await use(task)).code).toBe('handle_ended');
  expect((await run('--tool', 'nothing', '--reason', 'x')).code).toBe(1);
  const foreign = await run('--subject', 'alice', '--issuer', 'https://ssso.example.org', '--reason', 'x');
  expect(foreign).toMatchObject({ code: 0, stdout: 'revoked: 0 tasks ended, 0 credentials taken back\n' });
  expect(foreign.stderr).toContain('no issuer https://ssso.example.org is known to this sidecar');
  const known = await run('--subject', 'nobody', '--issuer', stage.service.issuer, '--reason', 'x');
  expect(known).toMatchObject({ code: 0, stderr: '' });
  const mistyped = await run('--agent', 'spiffe//example.org/x', '--reason', 'x');
  expect(mistyped).toMatchObject({ code: 1, stdout: '' });
  expect(mistyped.stderr).toContain('is no SPIFFE ID');
  const unknown = await run('--agent', 'example.org/x', '--reason', 'x');
  expect(unknown).toMatchObject({ code: 0, stderr: expect.stringContaining('spiffe://TRUST-DOMAIN/PATH') });
  expect(await run('--all', '--reason', 'x')).toMatchObject({
    code: 0,
    stdout: 'revoked: 1 tasks ended, 0 credentials taken back\n',
  });
});
