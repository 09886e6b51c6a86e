import { readFileSync } from 'node:fs';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { basic, dial, exchangeOn, openTunnel, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { eventsOfCalls, expectRefused } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let secure: EchoTool;
let stage: Stage;
let task: StagedTask;
let asked: number;

beforeAll(async () => {
  const certificate = await makeToolCertificate('git.test');
  tool = await openEchoTool();
  secure = await openEchoTool({ tls: certificate });
  stage = await openStage({
    tools: {
      crm: { port: tool.port },
      git: { port: secure.port, ca: certificate.ca },
      open: { port: tool.port, token: false },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([tool.close(), secure.close()]);
});
beforeEach(() => {
  asked = stage.service.counts.token;
});

const outbound = (): string => stage.sidecar.addresses.outbound;

function expectChallenge(answer: RawAnswer, status: 401 | 407): void {
  expect([answer.status, answer.code, answer.headers['connection'] ?? 'keep-alive']).toEqual([
    status,
    'task_unknown',
    'keep-alive',
  ]);
  const [here, there] =
    status === 407 ? ['proxy-authenticate', 'www-authenticate'] : ['www-authenticate', 'proxy-authenticate'];
  expect(answer.headers[here]).toMatch(/^Basic realm="[^"]+"/);
  expect(answer.headers[there]).toBeUndefined();
  expect(answer.headers['content-type']).toBe('application/problem+json');
}

describe('W11: a call that names no task is challenged, on a connection that stays usable', () => {
  test('through the proxy: 407, and the same request with a credential passes', async () => {
    const socket = dial(outbound());
    for (const [method, body] of [
      ['GET', undefined],
      ['POST', 'a small body'],
      ['DELETE', undefined],
    ] as const) {
      const length: Record<string, string> = body === undefined ? {} : { 'Content-Length': String(body.length) };
      const request = (more: Record<string, string>) =>
        requestBytes(method, 'http://crm.test/x', { Host: 'crm.test', ...length, ...more }, body);
      expectChallenge(await exchangeOn(socket, request({})), 407);
      expect(stage.service.counts.token).toBe(asked);
      const answer = await exchangeOn(socket, request({ 'Proxy-Authorization': basic(task.handle) }));
      expect([answer.status, tool.seen.at(-1)?.body.toString()]).toEqual([200, body ?? '']);
      asked = stage.service.counts.token;
    }
    socket.destroy();
  });

  test('a credential that is no handle is none', async () => {
    const socket = dial(outbound());
    const own: Record<string, string>[] = [
      { Authorization: 'Bearer sk-own' },
      { 'x-api-key': 'dummy' },
      { 'Proxy-Authorization': 'Basic dTpw' },
      { 'Proxy-Authorization': 'Negotiate TlRMTVNTUAAB' },
      { Authorization: `Basic ${Buffer.from('user:pass').toString('base64')}` },
      { Authorization: 'Bearer eyJhbGciOiJub25lIn0.e30.' },
    ];
    for (const headers of own)
      expectChallenge(
        await exchangeOn(socket, requestBytes('GET', 'http://crm.test/x', { Host: 'crm.test', ...headers })),
        407,
      );
    socket.destroy();
    expect(tool.seen.filter(({ rawHeaders }) => rawHeaders.some((text) => /sk-own|dummy|dTpw/.test(text)))).toEqual([]);
  });

  test('on a mount and inside a tunnel: 401', async () => {
    const mounts = dial(outbound());
    expectChallenge(await exchangeOn(mounts, requestBytes('GET', '/tools/crm/x', { Host: outbound() })), 401);
    expect(
      (
        await exchangeOn(
          mounts,
          requestBytes('GET', '/tools/crm/x', { Host: outbound(), Authorization: basic(task.handle) }),
        )
      ).status,
    ).toBe(200);
    mounts.destroy();
    const tunnel = await openTunnel(outbound(), 'crm.test:80');
    expectChallenge(await exchangeOn(tunnel, requestBytes('GET', '/x', { Host: 'crm.test' })), 401);
    expect(
      (
        await exchangeOn(
          tunnel,
          requestBytes('GET', '/x', { Host: 'crm.test', Authorization: `Bearer ${task.handle}` }),
        )
      ).status,
    ).toBe(200);
    tunnel.destroy();
  });

  test('every challenge is one event that says the status of its answer', async () => {
    const send = async (what: string, bytes: Buffer) => {
      const socket = dial(outbound());
      const answer = await exchangeOn(socket, bytes);
      socket.destroy();
      return { what, answer };
    };
    const own = outbound();
    const tried = [
      await send('absolute', requestBytes('GET', 'http://crm.test/x', { Host: 'crm.test' })),
      await send('mount', requestBytes('GET', '/tools/crm/x', { Host: own })),
      await send('mount by its URL', requestBytes('GET', `http://${own}/tools/crm/x`, { Host: own })),
      await send('git', requestBytes('CONNECT', 'crm.test:80', { Host: 'crm.test:80', 'User-Agent': 'git/2.39.5' })),
    ];
    const events = await eventsOfCalls(stage.sidecar.eventsFile, tried);
    expect(events.map((list) => list.map(({ event, code, status }) => [event, code, status]))).toEqual(
      tried.map(({ answer }) => [['call.refused', 'task_unknown', answer.status]]),
    );
    expect(tried.map(({ answer }) => answer.status).filter((_status, at) => at !== 2)).toEqual([407, 401, 407]);
    expect(stage.service.counts.token).toBe(asked);
  });

  test('a tool that needs no task is not challenged', async () => {
    const socket = dial(outbound());
    expect((await exchangeOn(socket, requestBytes('GET', 'http://open.test/x', { Host: 'open.test' }))).status).toBe(
      200,
    );
    socket.destroy();
  });
});

describe('W11: a client that waits for a challenge to its CONNECT gets it, and others get their tunnel', () => {
  const connect = (more: Record<string, string>, target = 'git.test:443') =>
    requestBytes('CONNECT', target, { Host: target, ...more });
  const waiting = ['git/2.39.5', 'JGit/6.7', 'Java/21.0.4', 'Apache-HttpClient/5.3'];

  test.for(waiting)('%s: 407, kept open, and then the tunnel', async (agent) => {
    const socket = dial(outbound());
    expectChallenge(await exchangeOn(socket, connect({ 'User-Agent': agent })), 407);
    const opened = await exchangeOn(
      socket,
      connect({ 'User-Agent': agent, 'Proxy-Authorization': basic(task.handle) }),
    );
    expect(opened.status).toBe(200);
    const inner = connectTls({ socket, servername: 'git.test', ca: readFileSync(stage.sidecar.caFile, 'utf8') });
    await new Promise((done, fail) => inner.once('secureConnect', done).once('error', fail));
    const answer = await exchangeOn(
      inner,
      requestBytes('GET', '/repo.git/info/refs?service=git-upload-pack', { Host: 'git.test' }),
    );
    expect([answer.status, secure.seen.at(-1)?.path]).toEqual([200, '/repo.git/info/refs?service=git-upload-pack']);
    inner.destroy();
  });

  test('a challenged connection may go on with any other request', async () => {
    const socket = dial(outbound());
    expectChallenge(await exchangeOn(socket, connect({ 'User-Agent': 'git/2.39.5' })), 407);
    expect((await exchangeOn(socket, requestBytes('GET', 'http://open.test/x', { Host: 'open.test' }))).status).toBe(
      200,
    );
    expect(
      (await exchangeOn(socket, connect({ 'Proxy-Authorization': basic(task.handle) }, 'crm.test:80'))).status,
    ).toBe(200);
    expect((await exchangeOn(socket, requestBytes('GET', '/x', { Host: 'crm.test' }))).status).toBe(200);
    socket.destroy();
  });

  test('curl and unknown clients: 200, and the call inside is judged', async () => {
    for (const agent of ['curl/8.5.0', 'python-requests/2.32', '', 'gitlab-runner 17']) {
      const socket = dial(outbound());
      expect([agent, (await exchangeOn(socket, connect({ 'User-Agent': agent }))).status]).toEqual([agent, 200]);
      socket.destroy();
    }
  });

  test('a credential that is no handle is challenged, whoever sends it', async () => {
    for (const value of ['Basic dTpw', 'Bearer x', 'Negotiate AAAA', 'x']) {
      const socket = dial(outbound());
      expectChallenge(
        await exchangeOn(socket, connect({ 'User-Agent': 'curl/8.5.0', 'Proxy-Authorization': value })),
        407,
      );
      socket.destroy();
    }
  });

  test('a wrong handle is refused before there is a tunnel', async () => {
    const socket = dial(outbound());
    const answer = await exchangeOn(
      socket,
      connect({ 'Proxy-Authorization': basic(`${task.handle.slice(0, -3)}AAA`) }),
    );
    socket.destroy();
    await expectRefused(stage.sidecar.eventsFile, [{ what: 'wrong', answer }], 403, 'handle_unknown');
  });

  test('a client that never learns costs nothing but its connection', async () => {
    const socket = dial(outbound());
    for (let count = 0; count < 60; count += 1)
      expectChallenge(await exchangeOn(socket, connect({ 'User-Agent': 'git/2.39.5' })), 407);
    expect((await exchangeOn(socket, connect({ 'Proxy-Authorization': basic(task.handle) }))).status).toBe(200);
    socket.destroy();
    expect(stage.sidecar.output()).not.toMatch(/MaxListeners|Warning|fault/);
  });
});
