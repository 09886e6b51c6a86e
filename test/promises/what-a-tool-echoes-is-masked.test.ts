import { type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync, type InputType } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { forms } from '../../proxy/forward/screen/forms.ts';
import { eventually } from '../fakes/eventually.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: ScriptedTool;
let stage: Stage;
let task: StagedTask;
/** How the tool answers a request with this token. */
let answer: (token: string, response: ServerResponse, request: IncomingMessage) => void;
/** The token of the last request. */
let token = '';

beforeAll(async () => {
  tool = await openScriptedTool((request, response) => {
    token = (request.headers.authorization ?? '').replace(/^\S+ /, '');
    answer(token, response, request);
  });
  stage = await openStage({
    tools: {
      crm: { port: tool.port },
      bound: { port: tool.port, proof: 'dpop' },
      off: { port: tool.port, more: { unsafe_response_screen: 'off' } },
      open: { port: tool.port, token: false },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});
beforeEach(() => {
  answer = (_token, response) => response.end('nothing');
});

function call(name: string, options: Parameters<typeof callThrough>[2] = {}): Promise<RawAnswer> {
  return callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/x`, { handle: task.handle, ...options });
}

/** No part of 23 characters of a form of the signature is in what came; where a byte takes many, none of 10 bytes: the claims have fewer too. */
function expectNoPart(came: string, written: readonly Buffer[]): void {
  for (const text of written.map((bytes) => bytes.toString('latin1'))) {
    const length = Math.max(23, Math.ceil((text.length / signatureOf(token).length) * 10));
    for (let at = 0; at + length <= text.length; at += 1) {
      if (came.includes(text.slice(at, at + length))) throw new Error(`${text.slice(at, at + length)} came at ${at}`);
    }
  }
}

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');
const signatureOf = (jwt: string): Buffer => bytesOf(jwt.split('.')[2] ?? '');

describe('W3: a credential that a tool gives back is masked', () => {
  test.for(forms.map(({ name, write }) => ({ name, write })))('$name', async ({ write }) => {
    for (const size of [1e6, 41, 1]) {
      const text = await call('crm').then(() => write(bytesOf(`Bearer ${token}`)));
      for (const bytes of size === 1 ? text.slice(0, 1) : text) {
        const body = Buffer.concat([bytesOf('{"you sent":"'), bytes, bytesOf('"}, and so on')]);
        answer = (_token, response) => void drip(response, body, size);
        const came = await call('crm');
        expect([came.status, came.body.length]).toEqual([200, body.length]);
        expect(came.body.slice(-13)).toBe('"}, and so on');
        expectNoPart(came.body, write(signatureOf(token)));
      }
    }
  });

  const codings: [string, (data: InputType) => Buffer][] = [
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['deflate', deflateSync],
    ['Deflate', deflateRawSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
    ['identity, gzip, br', (data) => brotliCompressSync(gzipSync(data))],
  ];
  test.for(codings)('within %s', async ([coding, compress]) => {
    answer = (given, response, request) => {
      expect(request.headers['accept-encoding']).toBe('identity');
      const body = compress(`you sent ${given}, and so on`);
      const about = { 'Content-Length': body.length, ETag: '"x"', 'Repr-Digest': 'sha-256=:of the coded bytes:' };
      response.writeHead(200, { 'Content-Encoding': coding, ...about }).end(body);
    };
    const came = await call('crm', { headers: { 'Accept-Encoding': 'gzip, br' } });
    expect(came.body).toBe(`you sent ${'*'.repeat(token.length)}, and so on`);
    const { etag, 'content-encoding': left, 'repr-digest': digest } = came.headers;
    expect([left, digest, etag]).toEqual([undefined, undefined, '"x"']);
  });

  test('in headers, the reason phrase and trailers', async () => {
    answer = (given, response) => {
      const name = `x-${given.slice(-60)}`;
      response.writeHead(200, `OK ${given}`, {
        [name]: 'is a name',
        'X-Sent': given,
        Location: `/?t=${encodeURIComponent(given)}`,
        Trailer: 'X-T',
      });
      response.write('content');
      response.addTrailers({ 'X-T': Buffer.from(given).toString('base64') });
      response.end();
    };
    const came = await call('crm');
    expect(came.headers['x-sent']).toBe('*'.repeat(token.length));
    for (const line of came.lines)
      expectNoPart(
        line,
        forms.flatMap(({ write }) => write(signatureOf(token))),
      );
    expect(came.body).toContain('content');
    expectNoPart(
      came.body,
      forms.flatMap(({ write }) => write(signatureOf(token))),
    );
  });

  test('a part of it, and a proof-bound one too', async () => {
    answer = (given, response) => response.end(`<${given.slice(-60, -20)}>`);
    for (const name of ['crm', 'bound']) expect((await call(name)).body).toBe(`<${'*'.repeat(40)}>`);
  });

  test('the one before it, when the tool called that expired', async () => {
    let first: string | undefined;
    answer = (given, response) => {
      first ??= given;
      if (given !== first) response.end(`${first} and ${given}.`);
      else response.writeHead(401, { 'WWW-Authenticate': 'Bearer error="invalid_token"' }).end();
    };
    const came = await call('crm');
    expect([came.status, first === token]).toEqual([200, false]);
    expect(came.body).toBe(`${'*'.repeat(first?.length ?? 0)} and ${'*'.repeat(token.length)}.`);
  });

  test('and the record says that it was there', async () => {
    answer = (given, response) => response.end(given);
    await call('crm');
    // The end of a call is written after its answer is gone.
    const endings = () => readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'call.ended');
    const isMeant = (end: Record<string, unknown>) => end['bytes_out'] === token.length && end['masked'] === true;
    await eventually('the end of the call', () => endings().some(isMeant));
  });
});

test('W1: an answer that nobody can read does not go on', async () => {
  for (const coding of ['compress', 'gzip, gzip, gzip, gzip', 'exi']) {
    answer = (_given, response) => response.writeHead(200, { 'Content-Encoding': coding }).end('xyz');
    const came = await call('crm');
    expect([coding, came.status, came.code]).toEqual([coding, 502, 'answer_unreadable']);
  }
  answer = (_given, response) => response.writeHead(200, { 'Content-Encoding': 'gzip' }).end('this is no gzip');
  await expect(call('crm')).rejects.toThrow();
});

test.for<[string, (data: InputType) => Buffer]>([
  ['deflate', deflateSync],
  ['br', brotliCompressSync],
  ['zstd', zstdCompressSync],
])('what follows the end of a %s body is not read, and holds nothing up', async ([coding, compress]) => {
  answer = (given, response) => {
    response.writeHead(200, { 'Content-Encoding': coding });
    response.write(compress(`you sent ${given}`));
    const rest = Buffer.alloc(200_000, 'rest');
    void sleep(50).then(() => response.write(rest));
    void sleep(100).then(() => response.end(rest));
  };
  expect((await call('crm')).body).toBe(`you sent ${'*'.repeat(token.length)}`);
});

test('ranges and codings are the business of agent and tool where no credential of ours is', async () => {
  const seen: unknown[] = [];
  answer = (_given, response, { headers }) => {
    seen.push([headers.range, headers['if-range'], headers['accept-encoding']]);
    response.writeHead(200, { 'Content-Encoding': 'compress' }).end('xyz');
  };
  const headers = { Range: 'bytes=0-9', 'If-Range': '"x"', 'Accept-Encoding': 'br' };
  await call('crm', { headers });
  for (const name of ['open', 'off']) expect((await call(name, { headers })).body).toBe('xyz');
  const asSent = ['bytes=0-9', '"x"', 'br'];
  expect(seen).toEqual([[undefined, undefined, 'identity'], asSent, asSent]);
  answer = (given, response) => response.end(given);
  expect((await call('off')).body).toBe(token);
});

test('what is no secret is neither changed nor held back', async () => {
  let more: ((text: string) => void) | undefined;
  answer = (_given, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    more = (text) => void response.write(text);
    more('data: {"n":1}\n\n');
    void sleep(300).then(() => response.end('data: eyJ'));
  };
  const started = performance.now();
  const came = await call('crm');
  expect(performance.now() - started).toBeGreaterThan(250);
  expect(came.body).toContain('data: {"n":1}\n\n');
  expect(came.body).toContain('data: eyJ');
});

async function drip(response: ServerResponse, body: Buffer, size: number): Promise<void> {
  response.writeHead(200, { 'Content-Length': body.length });
  for (let at = 0; at < body.length; at += size) {
    response.write(body.subarray(at, at + size));
    if (size < 50 && at % (size * 16) === 0) await new Promise((done) => setImmediate(done));
  }
  response.end();
}
