import { randomBytes } from 'node:crypto';
import { mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exchangeOn, exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const roles = ['reader', 'orchestrator', 'approver', 'operator'] as const;
const tokens = new Map<string, string>(roles.map((role) => [role, randomBytes(24).toString('base64url')]));
let stage: Stage;
let port: string;

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-operator-'));
  for (const [role, token] of tokens) writeFileSync(join(dir, role), `${token}\n`, { mode: 0o600 });
  stage = await openStage({
    dir,
    tools: { crm: { port: 1 }, files: { port: 1 } },
    sections: {
      operator: {
        socket: join(dir, 'operator.sock'),
        listen: '127.0.0.1:0',
        tokens: Object.fromEntries(roles.map((role) => [role, join(dir, role)])),
      },
      tasks: { max_open: 40, deadline: '20m' },
    },
  });
  port = stage.sidecar.addresses.operator ?? '';
});
afterAll(() => stage?.close());

function send(
  method: string,
  path: string,
  options: { role?: string; headers?: Record<string, string>; body?: unknown } = {},
): Promise<RawAnswer> {
  const { role, headers = {}, body } = options;
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const all = {
    Host: port,
    ...(role === undefined ? {} : { Authorization: `Bearer ${tokens.get(role) ?? role}` }),
    ...(text === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(text)) }),
    ...headers,
  };
  return exchangeRaw(port, requestBytes(method, path, all, text));
}

const openTasks = (): Promise<number> => stage.sidecar.metric('waybill_tasks_open');

async function openOne(): Promise<string> {
  return (await stage.task()).txn;
}

describe('W10: each role may what it is for', () => {
  const calls: readonly (readonly [
    what: string,
    method: string,
    path: (txn: string) => string,
    may: readonly string[],
  ])[] = [
    ['list', 'GET', () => '/v1/tasks', ['reader', 'operator']],
    ['list what is open', 'GET', () => '/v1/tasks?state=open', ['reader', 'operator']],
    ['look at one', 'GET', (txn) => `/v1/tasks/${txn}`, ['reader', 'operator']],
    ['take the inventory', 'GET', () => '/v1/inventory', ['reader', 'operator']],
    ['ask which sidecar it is', 'GET', () => '/v1/sidecar', ['reader', 'operator']],
    ['open', 'POST', () => '/v1/tasks', ['orchestrator', 'operator']],
    ['complete', 'POST', (txn) => `/v1/tasks/${txn}/complete`, ['orchestrator', 'operator']],
    ['fail', 'POST', (txn) => `/v1/tasks/${txn}/fail`, ['orchestrator', 'operator']],
    ['revoke', 'POST', () => '/v1/revoke', ['operator']],
  ];
  test.for(calls)('%s', async ([what, method, path, may]) => {
    const subject_token = await stage.service.subjectToken();
    for (const role of roles) {
      const txn = await openOne();
      const ofPost = what === 'revoke' ? { task: txn, reason: 'test' } : {};
      const body = what === 'open' ? { subject_token, tools: ['crm'] } : method === 'POST' ? ofPost : undefined;
      const before = await openTasks();
      const answer = await send(method, path(txn), { role, body });
      if (may.includes(role)) expect([role, answer.status]).toEqual([role, what === 'open' ? 201 : 200]);
      else expect([role, answer.status, answer.code, await openTasks()]).toEqual([role, 403, 'role_missing', before]);
      await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${txn}/complete`);
    }
  });

  test('follow the record', async () => {
    for (const role of ['orchestrator', 'approver']) {
      const answer = await send('GET', '/v1/events', { role });
      expect([role, answer.status, answer.code]).toEqual([role, 403, 'role_missing']);
    }
    for (const role of ['reader', 'operator']) {
      const leave = new AbortController();
      const headers = { Authorization: `Bearer ${tokens.get(role)}` };
      const answer = await fetch(`http://${port}/v1/events`, { headers, signal: leave.signal });
      expect([role, answer.status]).toEqual([role, 200]);
      leave.abort();
    }
  });

  test('nobody without a token of a role', async () => {
    const good = tokens.get('operator') ?? '';
    const wrong = [
      '',
      'Bearer',
      'Bearer ',
      `Bearer ${good.slice(0, -1)}`,
      `Bearer ${good}x`,
      `Bearer ${good} x`,
      `Basic ${Buffer.from(`operator:${good}`).toString('base64')}`,
      good,
      `Bearer ${good.toUpperCase()}`,
      'Bearer operator',
      `Token ${good}`,
    ];
    for (const value of wrong) {
      const answer = await send('GET', '/v1/tasks', { headers: { Authorization: value } });
      expect([value, answer.status, answer.code]).toEqual([value, 401, 'token_missing']);
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
    }
    for (const path of ['/v1/tasks', `/v1/tasks?access_token=${good}`, '/', '/v1/nothing']) {
      expect([path, (await send('GET', path)).status]).toEqual([path, 401]);
    }
    expect((await send('GET', '/v1/tasks', { headers: { Authorization: `bearer  ${good}` } })).status).toBe(200);
  });

  test('no page of a browser, whatever token it has: Host and Origin are checked first', async () => {
    const number = port.split(':')[1] ?? '';
    for (const host of [
      'evil.test',
      `evil.test:${number}`,
      '127.0.0.1',
      '127.0.0.1:1',
      `127.0.0.2:${number}`,
      `localhost.evil.test:${number}`,
      'localhost',
      '',
      `127.0.0.1:${number}:80`,
    ]) {
      const answer = await send('GET', '/v1/tasks', { role: 'operator', headers: { Host: host } });
      expect([host, answer.status, answer.code]).toEqual([host, 403, 'host_forbidden']);
    }
    for (const origin of [`http://${port}`, 'http://localhost', 'null', 'https://evil.test', '']) {
      const answer = await send('POST', '/v1/tasks', {
        role: 'operator',
        headers: { Origin: origin },
        body: { subject_token: 'x' },
      });
      expect([origin, answer.status, answer.code]).toEqual([origin, 403, 'host_forbidden']);
    }
    expect((await send('GET', '/v1/tasks', { role: 'reader', headers: { Host: `LocalHost:${number}` } })).status).toBe(
      200,
    );
  });

  test('metrics and health answer no page either', async () => {
    const { metrics, health } = stage.sidecar.addresses;
    for (const [address, path] of [
      [metrics, '/metrics'],
      [health, '/readyz'],
    ] as const) {
      expect((await exchangeRaw(address, requestBytes('GET', path, { Host: address }))).status).toBe(200);
      const pages: Record<string, string>[] = [
        { Host: 'evil.test' },
        { Host: `evil.test:${address.split(':')[1] ?? ''}` },
        { Host: address, Origin: `http://${address}` },
      ];
      for (const headers of pages) {
        const answer = await exchangeRaw(address, requestBytes('GET', path, headers));
        expect([headers, answer.status, answer.body]).toEqual([headers, 403, '']);
      }
      expect(
        (await exchangeRaw(address, requestBytes('POST', path, { Host: address, 'Content-Length': '0' }))).status,
      ).toBe(403);
    }
  });

  test('the socket is for its owner alone, who may everything', async () => {
    const { socket } = stage.sidecar.addresses;
    expect((statSync(socket).mode & 0o777).toString(8)).toBe('600');
    expect((await callOperator(socket, 'GET', '/v1/tasks')).status).toBe(200);
    const raw = connect(socket);
    raw.on('error', () => undefined);
    expect((await exchangeOn(raw, requestBytes('GET', '/v1/tasks', { Host: 'anything' }))).status).toBe(200);
    raw.destroy();
  });
});
