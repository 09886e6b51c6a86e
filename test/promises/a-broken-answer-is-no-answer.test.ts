import { gzipSync } from 'node:zlib';
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** Answers of the token endpoint, byte for byte; `cut` resets the connection after them, else it is ended. */
interface Broken {
  readonly bytes: Buffer;
  readonly status: 502 | 503;
  readonly cut?: boolean;
}

const good =
  '"token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","expires_in":300';

function http(body: string | Buffer, headers: readonly string[] = [], status = '200 OK'): Buffer {
  const content = Buffer.from(body as string);
  const lines = ['Content-Type: application/json', ...headers, `Content-Length: ${content.length}`];
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status}\r\n${lines.join('\r\n')}\r\n\r\n`), content]);
}

function redirect(status: string): Broken {
  // To the same place by an absolute URL: following it would be seen as a second request.
  return { bytes: http('', [`Location: http://127.0.0.1:${port}/token`], status), status: 502 };
}

let port = 0;
let endpoint: Server;
let answer: Broken;
let asked = 0;
let tool: EchoTool;
let stage: Stage;

function serve(socket: Socket): void {
  let read = '';
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    read += chunk.toString('latin1');
    const end = read.indexOf('\r\n\r\n');
    const length = Number(/content-length: (\d+)/i.exec(read)?.[1] ?? 0);
    if (end === -1 || read.length < end + 4 + length) return;
    read = '';
    asked += 1;
    if (answer.cut === true) socket.write(answer.bytes, () => setTimeout(() => socket.resetAndDestroy(), 20));
    else socket.end(answer.bytes);
  });
}

beforeAll(async () => {
  endpoint = createServer(serve);
  await new Promise<void>((done) => endpoint.listen(0, '127.0.0.1', done));
  port = (endpoint.address() as AddressInfo).port;
  tool = await openEchoTool();
  stage = await openStage({
    tools: { crm: { port: tool.port } },
    corp: {
      endpoints: { token: `http://127.0.0.1:${port}/token`, jwks: `http://127.0.0.1:${port}/jwks` },
      timeout: '500ms',
    },
  });
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
  endpoint.close();
});

const answers: Record<string, () => Broken> = {
  'a name twice': () => ({ bytes: http(`{"access_token":"aaaa","access_token":"bbbb",${good}}`), status: 502 }),
  'a byte order mark': () => ({ bytes: http(`\ufeff{"access_token":"aaaa",${good}}`), status: 502 }),
  'another character set': () => ({
    bytes: http(Buffer.from(`{"access_token":"aaaa",${good}}`, 'utf16le')),
    status: 502,
  }),
  compressed: () => ({
    bytes: http(gzipSync(`{"access_token":"aaaa",${good}}`), ['Content-Encoding: gzip']),
    status: 502,
  }),
  'a token that is no text': () => ({ bytes: http(`{"access_token":{"a":1},${good}}`), status: 502 }),
  'a token with a space': () => ({ bytes: http(`{"access_token":"aa aa",${good}}`), status: 502 }),
  'a token beyond all size': () => ({ bytes: http(`{"access_token":"${'a'.repeat(20_000)}",${good}}`), status: 502 }),
  'a negative life': () => ({ bytes: http(`{"access_token":"aaaa",${good.replace('300', '-300')}}`), status: 502 }),
  'an endless life': () => ({ bytes: http(`{"access_token":"aaaa",${good.replace('300', '1e99')}}`), status: 502 }),
  'a list of types': () => ({
    bytes: http(`{"access_token":"aaaa",${good.replace('"Bearer"', '["Bearer"]')}}`),
    status: 502,
  }),
  'a type with a space': () => ({
    bytes: http(`{"access_token":"aaaa",${good.replace('Bearer', 'Bearer ')}}`),
    status: 502,
  }),
  'text behind the JSON': () => ({ bytes: http(`{"access_token":"aaaa",${good}} {}`), status: 502 }),
  'an error in a 200': () => ({ bytes: http('{"error":"invalid_grant","error_description":"no"}'), status: 502 }),
  'a created': () => ({ bytes: http(`{"access_token":"aaaa",${good}}`, [], '201 Created'), status: 502 }),
  'a moved permanently': () => redirect('301 Moved Permanently'),
  'a found': () => redirect('302 Found'),
  'a see other': () => redirect('303 See Other'),
  'a permanent redirect': () => redirect('308 Permanent Redirect'),
  'a mebibyte in chunks': () => ({
    bytes: Buffer.from(
      `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n${'x'.repeat(1_048_576)}\r\n0\r\n\r\n`,
    ),
    status: 502,
  }),
  'a reset inside the body': () => ({
    bytes: http(`{"access_token":"aaaa",${good}}`).subarray(0, -20),
    status: 503,
    cut: true,
  }),
  'an end inside the body': () => ({ bytes: http(`{"access_token":"aaaa",${good}}`).subarray(0, -20), status: 503 }),
  'an end inside the head': () => ({ bytes: Buffer.from('HTTP/1.1 200 OK\r\nContent-Type: appl'), status: 503 }),
  'no HTTP at all': () => ({ bytes: Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'), status: 503 }),
  'two lengths': () => ({
    bytes: Buffer.from(
      'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ',
    ),
    status: 503,
  }),
  'a head beyond all size': () => ({ bytes: http('{}', [`X-Pad: ${'x'.repeat(200_000)}`]), status: 503 }),
  nothing: () => ({ bytes: Buffer.alloc(0), status: 503 }),
};

describe('W5: an answer that can be read in two ways, or not at all, is no token', () => {
  test.for(Object.keys(answers))('%s', async (what) => {
    answer = answers[what]?.() ?? { bytes: Buffer.alloc(0), status: 503 };
    asked = 0;
    const { handle } = await stage.task();
    const refused = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', { handle });
    const code = answer.status === 502 ? 'token_rejected' : 'token_service_unavailable';
    // Nothing at all, or less than a head: such a failure may pass, and is tried once more.
    const attempts = ['nothing', 'an end inside the head'].includes(what) ? 2 : 1;
    expect([refused.status, refused.code, asked]).toEqual([answer.status, code, attempts]);
    expect(refused.body).not.toMatch(/aaaa|bbbb|xxxx|invalid_grant/);
    expect([tool.seen.length, tool.connections()]).toEqual([0, 0]);
    // A service that does nothing but fail is soon not asked any more; one that says no is well.
    answer = { bytes: http('{"error":"access_denied"}', [], '403 Forbidden'), status: 502 };
    for (const { handle: other } of [await stage.task(), await stage.task()]) {
      await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', { handle: other });
    }
  });
});
