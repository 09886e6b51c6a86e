import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openStreamTool, type EchoTool } from '../stage/echo-tool.ts';
import { basic, callThrough, dial, exchangeRaw, requestBytes } from '../stage/raw-call.ts';
import { openInProcess, type InProcess } from '../stage/sidecar-in-process.ts';
import { callOperator, removeFolder } from '../stage/sidecar-process.ts';
import { Wire } from '../stage/wire.ts';

const hourMs = 3600_000;
let aheadMs = 0;
let dir: string;
let service: FakeTokenService;
let tool: EchoTool;
let inside: InProcess;
let task: { handle: string; txn: string };

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-clock-'));
  writeFileSync(join(dir, 'key'), 'static-key-of-the-tool', { mode: 0o600 });
  service = await openFakeTokenService({});
  tool = await openStreamTool();
});
afterAll(async () => {
  await service.close();
  await tool.close();
  removeFolder(dir);
});

/** A task for ten minutes, and a machine that may sleep: its timers stand still then, and its clock goes on. */
beforeEach(async () => {
  aheadMs = 0;
  const keyed = { match: { host: 'crm.test' }, dial: `127.0.0.1:${tool.port}` };
  inside = await openInProcess(
    {
      trust: { issuers: [{ issuer: service.issuer, audience: 'invoice-bot' }] },
      tools: { crm: { ...keyed, secret: { file: join(dir, 'key'), in: 'header' } } },
    },
    { now: () => Date.now() + aheadMs },
  );
  const subject_token = await service.subjectToken({ sub: 'alice' });
  const opened = await api('POST', '/v1/tasks', { subject_token, deadline: '10m' });
  expect(opened.status).toBe(201);
  task = { handle: String(opened.body['handle']), txn: String(opened.body['txn']) };
  expect((await use()).status).toBe(200);
  return () => inside.close();
});

const api = (method: string, path: string, body?: unknown) =>
  callOperator(inside.sidecar.addresses.socket, method, path, body);
const use = () => callThrough(inside.outbound, 'http://crm.test/x', { handle: task.handle });

test('a task whose deadline passed while the machine slept is over at its next call, and ended as expired', async () => {
  aheadMs = 8 * hourMs;
  const refused = await use();
  expect([refused.status, refused.code]).toEqual([403, 'handle_ended']);
  expect((await api('GET', `/v1/tasks/${task.txn}`)).body).toMatchObject({ state: 'expired' });
});

test('it opens no tunnel', async () => {
  aheadMs = 8 * hourMs;
  const head = { Host: 'crm.test:443', 'Proxy-Authorization': basic(task.handle) };
  expect((await exchangeRaw(inside.outbound, requestBytes('CONNECT', 'crm.test:443', head))).code).toBe('handle_ended');
});

test('it is not told as open, and a clock that is set back opens nothing again', async () => {
  aheadMs = 8 * hourMs;
  expect((await api('GET', '/v1/tasks?state=open')).body).toEqual({ tasks: [] });
  aheadMs = 0;
  expect((await use()).code).toBe('handle_ended');
});

test('its stream is cut soon after', { timeout: 30_000 }, async () => {
  const socket = dial(inside.outbound);
  const head = { Host: 'crm.test', 'Proxy-Authorization': basic(task.handle) };
  socket.write(requestBytes('GET', 'http://crm.test/stream', head));
  await new Wire(socket).until('data: x');
  // Until then there is no timer of its own.
  await sleep(5500);
  let isCut = false;
  socket.once('close', () => (isCut = true));
  aheadMs = 8 * hourMs;
  await eventually('it is cut', () => isCut, 20_000);
});

test('a clock that was ahead for a moment neither shortens a task nor prolongs it', { timeout: 40_000 }, async () => {
  const stateOf = async (txn: string) => (await api('GET', `/v1/tasks/${txn}`)).body['state'];
  aheadMs = 55_000;
  const opened = await api('POST', '/v1/tasks', {
    subject_token: await service.subjectToken({ sub: 'bob' }),
    deadline: '8s',
  });
  await sleep(1000);
  aheadMs = 0;
  await sleep(8500);
  expect(await stateOf(String(opened.body['txn']))).toBe('expired');
  // Timers look at the clock from time to time: one look is within this.
  await sleep(3500);
  aheadMs = 580_000;
  await sleep(4000);
  aheadMs = 0;
  await sleep(6000);
  expect([await stateOf(task.txn), (await use()).status]).toEqual(['open', 200]);
});
