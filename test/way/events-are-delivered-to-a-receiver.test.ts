import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { caep, openTransmitter, push, type PushOptions, type SignalTransmitter } from '../fakes/signal-transmitter.ts';
import { openStreamTool, type EchoTool } from '../stage/echo-tool.ts';
import { dial, requestBytes } from '../stage/raw-call.ts';
import { openSignalStage, type SignalStage } from '../stage/signal-stage.ts';
import { makeToolCertificate, type ToolCertificate } from '../stage/tool-certificate.ts';

const type = `${caep}session-revoked`;
const name = 'signals.example.test';
let tool: EchoTool;
let transmitter: SignalTransmitter;
let plain: SignalStage;
let secure: SignalStage;
let certificate: ToolCertificate;
let dir: string;
/** When a connection that says nothing, or not all, was closed; milliseconds after its beginning. */
const slow: Promise<number>[] = [];

const files = (): { certificate: string; key: string } => ({
  certificate: join(dir, 'signals.pem'),
  key: join(dir, 'signals-key.pem'),
});

beforeAll(async () => {
  tool = await openStreamTool();
  transmitter = await openTransmitter();
  dir = mkdtempSync(join(tmpdir(), 'waybill-signals-'));
  certificate = await makeToolCertificate(name, '127.0.0.1');
  writeFileSync(files().certificate, certificate.cert);
  writeFileSync(files().key, certificate.key);
  plain = await openSignalStage(tool, transmitter);
  const host = plain.sidecar.addresses.signals ?? '';
  const begun = `POST /signals HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/secevent+jwt\r\n`;
  for (const start of ['', begun, `${begun}Content-Length: 100\r\n\r\nabc`]) slow.push(closedAfter(start));
  secure = await openSignalStage(tool, transmitter, { dir, signals: { tls: files() } });
});
afterAll(async () => {
  await Promise.all([plain.close(), secure.close()]);
  await tool.close();
  await transmitter.close();
});

async function closedAfter(start: string): Promise<number> {
  const socket = dial(plain.sidecar.addresses.signals ?? '');
  const startedAt = performance.now();
  socket.write(start);
  socket.resume();
  await new Promise((done) => socket.once('close', done));
  return performance.now() - startedAt;
}

const send = (options: PushOptions, body = transmitter.event(type, plain.user('nobody'))) =>
  push(plain.sidecar.addresses.signals ?? '', body, options);
const headers = (more: Record<string, string>): PushOptions => ({ headers: more });

describe('the receiver of signals takes deliveries as RFC 8935 has them', () => {
  test.for<readonly [string, number, PushOptions, string?]>([
    ['another method', 405, { method: 'GET' }, ''],
    ['another path', 404, { path: '/' }],
    ['a path below', 404, { path: '/signals/x' }],
    ['another type', 415, headers({ 'content-type': 'application/jwt' })],
    ['a form', 415, headers({ 'content-type': 'application/x-www-form-urlencoded' })],
    ['a coding', 415, headers({ 'content-encoding': 'gzip' })],
    ['a foreign name', 403, headers({ host: name })],
    ['a page in a browser', 403, headers({ origin: 'http://localhost' })],
    ['too long a body', 413, {}, 'x'.repeat(65_537)],
    ['too long a body in chunks', 413, headers({ 'transfer-encoding': 'chunked' }), 'x'.repeat(70_000)],
  ])('%s: %i', async ([, status, options, body]) => {
    const before = plain.signals().length;
    const answer = await send(options, body);
    expect([answer.status, answer.err]).toEqual([
      status,
      options.method === undefined ? 'invalid_request' : answer.err,
    ]);
    expect(answer.headers['connection']).toBe('close');
    expect(plain.signals().length).toBe(before);
  });

  test.for([
    ['as it should be', {}],
    ['with a query', { path: '/signals?stream=1' }],
    ['with a parameter of the type', headers({ 'content-type': 'Application/SecEvent+JWT; charset=utf-8' })],
    ['in chunks', headers({ 'transfer-encoding': 'chunked' })],
  ] as const)('%s: 202, and nothing else', async ([, options]) => {
    const answer = await send(options);
    expect([answer.status, answer.body, answer.headers['content-type']]).toEqual([202, '', undefined]);
  });

  test('it has as many connections as it may have, and drops the others', async () => {
    const sockets = Array.from({ length: 300 }, () => dial(plain.sidecar.addresses.signals ?? ''));
    let closed = 0;
    for (const socket of sockets) socket.once('close', () => (closed += 1)).resume();
    await eventually('those beyond are dropped', () => closed >= 44);
    expect(closed).toBeLessThan(60);
    for (const socket of sockets) socket.destroy();
    await eventually('it takes deliveries again', async () => (await send({}).catch(() => undefined))?.status === 202);
  });
});

/** Delivers an event, and another one as soon as that is answered. Returns the status of each answer that came. */
async function deliverTwice(socket: TLSSocket, makeEvent: () => string): Promise<readonly string[]> {
  const answers: string[] = [];
  const closed = once(socket, 'close');
  const write = (event: string): void => {
    const fields = { Host: name, 'Content-Type': 'application/secevent+jwt', 'Content-Length': String(event.length) };
    socket.write(requestBytes('POST', '/signals', fields, event));
  };
  socket.on('data', (answer: string) => {
    if (answers.push(answer.slice(9, 12)) === 2) socket.destroy();
    else write(makeEvent());
  });
  write(makeEvent());
  await closed;
  return answers;
}

describe('beyond loopback the receiver has a certificate', () => {
  const over = (ca: string, more: PushOptions = {}) => {
    const token = transmitter.event(type, secure.user('nobody'));
    return push(secure.sidecar.addresses.signals ?? '', token, { tls: { ca, name }, headers: { host: name }, ...more });
  };

  test('and is called by its names', async () => {
    const { ca } = certificate;
    expect((await over(ca)).status).toBe(202);
    expect((await over(ca, { headers: { host: `${name}:443` } })).status).toBe(202);
    expect((await over(ca, { headers: { host: '127.0.0.1:1' } })).status).toBe(202);
    for (const host of ['other.example.test', '127.0.0.2', '[', 'a b'])
      expect((await over(ca, { headers: { host } })).status, host).toBe(403);
    expect((await over(ca, { headers: { host: name, origin: `https://${name}` } })).status).toBe(403);
    await expect(push(secure.sidecar.addresses.signals ?? '', '', {})).rejects.toThrow();
  });

  test('and who has his answer may deliver again over the same connection, at once', { timeout: 30_000 }, async () => {
    // All wait for the keys, and are answered in one turn: the last of them while the first have their answers already.
    const silent = await openTransmitter();
    silent.isSilent = true;
    const stage = await openSignalStage(tool, silent, { signals: { tls: files() } });
    const [host, port] = (stage.sidecar.addresses.signals ?? '').split(':');
    try {
      const connecting = Array.from({ length: 100 }, async () => {
        const socket = connectTls({ host, port: Number(port), ca: certificate.ca, servername: name });
        await once(socket, 'secureConnect');
        return socket.on('error', () => undefined).setEncoding('utf8');
      });
      const sockets = await Promise.all(connecting);
      const answered = await Promise.all(
        sockets.map((socket) => deliverTwice(socket, () => silent.event(type, stage.user('nobody')))),
      );
      expect(answered.filter(({ length }) => length < 2)).toEqual([]);
      expect(new Set(answered.flat())).toEqual(new Set(['503']));
    } finally {
      await stage.close();
      await silent.close();
    }
  });

  test('a new one is used without a restart, and half of a new one is not', { timeout: 60_000 }, async () => {
    const other = 'new.example.test';
    const next = await makeToolCertificate(other);
    const byNew = { tls: { ca: next.ca, name: other }, headers: { host: other } };
    writeFileSync(files().certificate, next.cert);
    await eventually('it says so', () => secure.sidecar.output().includes('the one before goes on'), 30_000);
    expect((await over(certificate.ca)).status).toBe(202);
    writeFileSync(files().key, next.key);
    const isNew = async (): Promise<boolean> => (await over('', byNew).catch(() => undefined))?.status === 202;
    await eventually('the new one', isNew, 30_000);
    await expect(over(certificate.ca)).rejects.toThrow();
  });

  test('or says by its name that it has none', async () => {
    const open = await openSignalStage(tool, transmitter, {
      signals: { listen: '0.0.0.0:0', unsafe_plaintext: true },
    });
    try {
      const [, port] = (open.sidecar.addresses.signals ?? '').split(':');
      const token = transmitter.event(type, open.user('nobody'));
      expect((await push(`127.0.0.1:${port}`, token, headers({ host: name }))).status).toBe(202);
      expect(await open.sidecar.metric('waybill_unsafe_settings{setting="signals.unsafe_plaintext"}')).toBe(1);
    } finally {
      await open.close();
    }
  });
});

// Last: it has waited meanwhile.
test('whoever takes too long is cut', { timeout: 40_000 }, async () => {
  const [silent = 0, headless = 0, endless = 0] = await Promise.all(slow);
  expect(Math.min(silent, headless)).toBeGreaterThan(9000);
  expect(Math.max(silent, headless)).toBeLessThan(16_000);
  expect(endless).toBeGreaterThan(19_000);
  expect(endless).toBeLessThan(30_000);
});
