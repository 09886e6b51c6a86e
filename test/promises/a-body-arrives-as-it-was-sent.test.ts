import { gunzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gzipped, openBodyTool, sha256, tenMiB } from '../stage/body-tool.ts';
import type { ScriptedTool } from '../stage/scripted-tool.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWire, request, waysIn, type Destination, type Way, type Wire } from '../stage/wire.ts';

let stage: Stage;
let tools: ScriptedTool[];
let to: Destination;

beforeAll(async () => {
  const certificate = await makeToolCertificate('secure.test');
  tools = [await openBodyTool(), await openBodyTool(certificate)];
  const [plain, secure] = tools.map(({ port }) => port);
  stage = await openStage({
    tools: { plain: { port: plain ?? 0 }, secure: { port: secure ?? 0, ca: certificate.ca, proof: 'dpop' } },
  });
  const { handle } = await stage.task();
  const ca = readFileSync(stage.sidecar.caFile, 'utf8');
  to = { outbound: stage.sidecar.addresses.outbound, handle, plainHost: 'plain.test', tlsHost: 'secure.test', ca };
});
afterAll(async () => {
  await stage.close();
  for (const tool of tools) await tool.close();
});

/** Sends one request and reads its answer to the end of the connection. */
async function roundTrip(way: Way, path: string, options: Parameters<typeof request>[3] = {}): Promise<Answer> {
  const wire = await openWire(way, to);
  const headers = { Connection: 'close', ...options.headers };
  wire.socket.write(request(way, to, path, { ...options, headers }));
  await wire.untilClosed(20_000);
  return answerOf(wire);
}

interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

function answerOf(wire: Wire): Answer {
  const end = wire.received.indexOf('\r\n\r\n');
  const head = wire.received.slice(0, end).toLowerCase();
  const raw = wire.received.slice(end + 4);
  return {
    status: Number(head.slice(9, 12)),
    head,
    body: head.includes('transfer-encoding: chunked') ? unchunked(raw).body : raw,
  };
}

function unchunked(raw: string): { body: string; trailers: string } {
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    const end = raw.indexOf('\r\n', at);
    const size = Number.parseInt(raw.slice(at, end), 16);
    if (size === 0) return { body: parts.join(''), trailers: raw.slice(end + 2) };
    parts.push(raw.slice(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
}

function chunked(bytes: Buffer, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

describe.each(waysIn)('%s', (way) => {
  test.each(['down-length', 'down-chunked'])('W13: 10 MiB come down as they are: %s', async (path) => {
    const { status, body } = await roundTrip(way, `/${path}`);
    expect(status).toBe(200);
    expect(body.length).toBe(tenMiB.length);
    expect(sha256(body)).toBe(sha256(tenMiB));
  });

  test('W13: 10 MiB go up as they are, with the length they were declared with', async () => {
    const headers = { 'Content-Length': String(tenMiB.length) };
    const answer = await roundTrip(way, '/up', { method: 'POST', headers, body: tenMiB });
    const length = String(tenMiB.length);
    expect(JSON.parse(answer.body)).toEqual({ digest: sha256(tenMiB), bytes: tenMiB.length, length });
  });

  test('W13: 10 MiB go up in chunks', async () => {
    const headers = { 'Transfer-Encoding': 'chunked' };
    const answer = await roundTrip(way, '/up', { method: 'POST', headers, body: chunked(tenMiB, 70_001) });
    expect(JSON.parse(answer.body)).toEqual({ digest: sha256(tenMiB), bytes: tenMiB.length, coding: 'chunked' });
  });

  test('W13: a small body in chunks, sent in pieces with pauses', async () => {
    const wire = await openWire(way, to);
    const headers = { 'Transfer-Encoding': 'chunked', Connection: 'close' };
    wire.socket.write(request(way, to, '/up', { method: 'POST', headers }));
    for (const piece of ['3\r\nab', 'c\r\n2', '\r\nde\r\n0\r\n', '\r\n']) {
      await sleep(40);
      wire.socket.write(piece);
    }
    await wire.untilClosed();
    expect(JSON.parse(answerOf(wire).body)).toMatchObject({ digest: sha256('abcde'), bytes: 5 });
  });

  test('HEAD, 204 and 304 have no body and keep their heads', async () => {
    const head = await roundTrip(way, '/head', { method: 'HEAD' });
    expect([head.status, head.body]).toEqual([200, '']);
    expect(head.head).toContain('content-length: 1234');
    expect(head.head).toContain('x-kind: head');
    const none = await roundTrip(way, '/no-content');
    expect([none.status, none.body]).toEqual([204, '']);
    expect(none.head).toContain('x-kind: none');
    expect(none.head).not.toMatch(/content-length|transfer-encoding/);
    const unchanged = await roundTrip(way, '/not-modified');
    expect([unchanged.status, unchanged.body]).toEqual([304, '']);
    expect(unchanged.head).toContain('etag: "1"');
  });

  test('a compressed body, which could hide the credential, arrives unfolded', async () => {
    const { head, body } = await roundTrip(way, '/gzip', { headers: { 'Accept-Encoding': 'gzip' } });
    expect(head).not.toMatch(/content-encoding|content-length/);
    expect(Buffer.from(body, 'latin1').equals(gunzipSync(gzipped))).toBe(true);
  });

  test('trailers follow, but none that would set a cookie', async () => {
    const wire = await openWire(way, to);
    wire.socket.write(request(way, to, '/trailers', { headers: { Connection: 'close', TE: 'trailers' } }));
    await wire.untilClosed();
    const { body, trailers } = unchunked(wire.received.slice(wire.received.indexOf('\r\n\r\n') + 4));
    expect(body).toBe('body');
    expect(trailers.toLowerCase()).toContain('x-digest: abc');
    expect(trailers.toLowerCase()).not.toContain('set-cookie');
  });

  test('a body that ends with the tool’s connection is whole for the agent', async () => {
    const { status, body } = await roundTrip(way, '/until-close');
    expect([status, body]).toEqual([200, 'until the end']);
  });

  test('requests sent one behind the other are answered in their order', async () => {
    const wire = await openWire(way, to);
    const close = { headers: { Connection: 'close' } };
    wire.socket.write(
      Buffer.concat([request(way, to, '/late'), request(way, to, '/hello'), request(way, to, '/nothing', close)]),
    );
    await wire.untilClosed();
    const order = [...wire.received.matchAll(/HTTP\/1\.1 (\d+)|(hello|late)/g)].map(
      ([, status, body]) => status ?? body,
    );
    expect(order).toEqual(['200', 'late', '200', 'hello', '404']);
  });
});

test('an HTTP/1.0 client gets an answer that it can read: no chunks, and the end of the connection', async () => {
  const wire = await openWire('absolute-form', to);
  const [, ...lines] = request('absolute-form', to, '/down-chunked').toString().split('\r\n');
  wire.socket.write(['GET http://plain.test/down-chunked HTTP/1.0', ...lines].join('\r\n'));
  await wire.untilClosed(20_000);
  const { status, head, body } = answerOf(wire);
  expect(status).toBe(200);
  expect(head).not.toContain('transfer-encoding');
  expect(sha256(body)).toBe(sha256(tenMiB));
});

test('an HTTP/1.0 client that expects to be told to go on is told nothing before its answer (RFC 9110 10.1.1)', async () => {
  const wire = await openWire('absolute-form', to);
  const body = '1.0';
  const headers = { Expect: '100-continue', 'Content-Length': String(body.length) };
  const [first = '', ...lines] = request('absolute-form', to, '/up', { method: 'POST', headers })
    .toString()
    .split('\r\n');
  wire.socket.write([first.replace('HTTP/1.1', 'HTTP/1.0'), ...lines].join('\r\n'));
  await sleep(200);
  wire.socket.write(body);
  await wire.untilClosed();
  expect(wire.received).toMatch(/^HTTP\/1\.1 200 /);
  expect(wire.received).toContain(sha256(body));
});
