import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readRows } from '../repo/tables.ts';
import { echoForms } from '../stage/echo-forms.ts';
import { basic, dial, requestBytes } from '../stage/raw-call.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** So many bytes of the signature one after the other, and an agent has read a part of the token. */
const readable = 16;
const before = Buffer.from('{"you sent":"');
const behind = Buffer.from('"}, and so on');

let tool: ScriptedTool;
let stage: Stage;
let task: StagedTask;
let token = '';
let signature = '';
let answer: (response: ServerResponse) => void = (response) => response.end();

beforeAll(async () => {
  tool = await openScriptedTool((request, response) => {
    token = (request.headers.authorization ?? '').replace(/^\S+ /, '');
    answer(response);
  });
  stage = await openStage({ tools: { crm: { port: tool.port } } });
  task = await stage.task();
  await call();
  signature = token.split('.')[2] ?? '';
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

/** Head and body of an answer as an agent reads them, chunks put together, and whatever comes before the last head. */
async function call(): Promise<{ head: string; body: Buffer }> {
  const socket = dial(stage.sidecar.addresses.outbound);
  const headers = { Host: 'crm.test', Connection: 'close', TE: 'trailers', 'Proxy-Authorization': basic(task.handle) };
  const parts: Buffer[] = [];
  socket.on('data', (data: Buffer) => parts.push(data));
  socket.write(requestBytes('GET', 'http://crm.test/x', headers));
  await once(socket, 'close');
  const all = Buffer.concat(parts);
  const at = all.indexOf('\r\n\r\n') + 4;
  const head = all.toString('latin1', 0, at);
  let rest = all.subarray(at);
  if (!/^transfer-encoding: chunked/im.test(head)) return { head, body: rest };
  const chunks: Buffer[] = [];
  for (;;) {
    const end = rest.indexOf('\r\n');
    const size = Number.parseInt(rest.toString('latin1', 0, end), 16);
    // Trailers stand behind the last chunk.
    if (!(size > 0)) return { head: head + rest.toString('latin1'), body: Buffer.concat(chunks) };
    chunks.push(rest.subarray(end + 2, end + 2 + size));
    rest = rest.subarray(end + 4 + size);
  }
}

/** Sends a body in pieces, each of which the sidecar gets by itself. */
async function drip(response: ServerResponse, body: Buffer, size: () => number): Promise<void> {
  for (let at = 0; at < body.length;) {
    const end = at + size();
    response.write(body.subarray(at, end));
    at = end;
    await new Promise((done) => setImmediate(done));
  }
  response.end();
}

const deliveries: readonly (readonly [name: string, send: (response: ServerResponse, body: Buffer) => void])[] = [
  ['at once', (response, body) => response.end(body)],
  ['in pieces', (response, body) => void drip(response, body, () => randomInt(1, 60))],
  ['byte by byte', (response, body) => void drip(response, body, () => 1)],
];

/** How many bytes of the signature, one after the other, came as they were sent. Stars keep every byte in its place. */
function bytesRead(sent: Buffer, came: Buffer, from: number, to: number, width: number): number {
  expect(came.length).toBe(sent.length);
  let [longest, run] = [0, 0];
  for (let at = from; at < to; at += 1) {
    run = sent[at] === came[at] ? run + 1 : 0;
    longest = Math.max(longest, run);
  }
  return Math.floor(longest / width);
}

test('the forms are those of SECURITY', () => {
  const rows = readRows('SECURITY.md', 'Masked in answers').map(([name]) => name);
  expect(Object.keys(echoForms)).toEqual(rows);
});

describe('W3: an agent reads no 16 bytes of a signature in any form of the list, however long what stands before it is and however it comes', () => {
  test.for(Object.entries(echoForms))('%s', async ([name, ways]) => {
    for (const [way, write] of ways.entries()) {
      for (const around of ['', 'a', 'ab', 'Bearer ', '{"authorization":["Bearer ']) {
        const plain = Buffer.from(`${around}${token}`, 'latin1');
        const written = write(plain);
        const body = Buffer.concat([before, written, behind]);
        const width = written.length / plain.length;
        const skipped = name === 'backwards' ? 0 : write(plain.subarray(0, plain.length - signature.length)).length;
        const from = before.length + Math.min(skipped, written.length);
        const to = before.length + (name === 'backwards' ? signature.length : written.length);
        for (const [delivery, send] of around === '' ? deliveries : deliveries.slice(0, 2)) {
          answer = (response) => send(response, body);
          const read = bytesRead(body, (await call()).body, from, to, width);
          expect([way, around, delivery, read < readable ? 'little' : read]).toEqual([way, around, delivery, 'little']);
        }
      }
    }
  });
});

describe('W3: a part of the signature from its middle is masked, in whatever pieces it comes', () => {
  test.for(['as it is', 'backwards', 'base64'])('%s', async (name) => {
    for (const write of echoForms[name] ?? []) {
      for (const [from, to] of [
        [20, 60],
        [41, 86],
        [63, 86],
        [3, 43],
      ] as const) {
        const part = write(Buffer.from(signature.slice(from, to)));
        const body = Buffer.concat([before, part, behind]);
        for (const [delivery, send] of deliveries) {
          answer = (response) => send(response, body);
          const { body: came } = await call();
          const read = bytesRead(body, came, before.length, before.length + part.length, part.length / (to - from));
          expect([from, delivery, read < readable ? 'little' : read]).toEqual([from, delivery, 'little']);
        }
      }
    }
  });

  test('base64 in lines, as in mails, and a signature in lines', async () => {
    const lines = (text: string, length: number): string =>
      (text.match(new RegExp(`.{1,${length}}`, 'g')) ?? []).join('\r\n');
    for (const written of [lines(Buffer.from(token).toString('base64'), 76), lines(token, 64)]) {
      for (const [delivery, send] of deliveries) {
        answer = (response) => send(response, Buffer.from(written));
        const { body } = await call();
        const seen = body.toString().replaceAll('\r\n', '');
        const read = written.includes('.') ? seen : Buffer.from(seen.replaceAll('*', 'A'), 'base64').toString('latin1');
        const found = Array.from({ length: signature.length - 22 }, (_, at) => signature.slice(at, at + 23));
        expect([delivery, found.some((part) => read.includes(part))]).toEqual([delivery, false]);
      }
    }
  });
});

describe('W3: no coding, header or frame of HTTP carries it past the screen', () => {
  const half = (): [Buffer, Buffer] => [Buffer.from(`you sent ${token.slice(0, -50)}`), Buffer.from(token.slice(-50))];
  const codings: readonly (readonly [string, () => Buffer])[] = [
    ['gzip', () => Buffer.concat(half().map((part) => gzipSync(part)))],
    ['zstd', () => Buffer.concat(half().map((part) => zstdCompressSync(part)))],
    ['gzip', () => gzipSync(Buffer.from(Buffer.from(token).toString('base64')))],
    ['gzip, gzip', () => gzipSync(gzipSync(token))],
    ['deflate, br', () => brotliCompressSync(deflateSync(token))],
    ['br, deflate', () => deflateSync(brotliCompressSync(token))],
    ['DEFLATE', () => deflateRawSync(token)],
    [' gzip ,identity', () => gzipSync(token)],
  ];
  test.for(codings)('%s', async ([coding, write]) => {
    answer = (response) => {
      response.writeHead(200, { 'Content-Encoding': coding });
      void drip(response, write(), () => 7);
    };
    expectHidden((await call()).body.toString('latin1'));
  });

  test('early hints, many headers of one name, trailers, and pieces of events', async () => {
    answer = (response) => {
      response.writeEarlyHints({ link: `</x?t=${token}>; rel=preload` });
      response.setHeader('X-A', [token, Buffer.from(token).toString('base64'), `b ${signature}`]);
      response.writeHead(200, { Trailer: 'X-T' });
      response.write(`data: ${signature.slice(0, 43)}\n\n`);
      response.write(`data: ${signature.slice(43)}\n\n`);
      response.addTrailers({ 'X-T': token });
      response.end();
    };
    const { head, body } = await call();
    expectHidden(head + body.toString('latin1'));
    expect(body.toString()).toContain('data: ');
  });
});

function expectHidden(came: string): void {
  for (const text of [signature, Buffer.from(signature).toString('base64')])
    for (let at = 0; at + 23 <= text.length; at += 1) expect(came.includes(text.slice(at, at + 23))).toBe(false);
}

test('W3: nor in the name of a trailer, which comes in lower case', async () => {
  answer = (response) => {
    response.writeHead(200, { Trailer: 'X-T' }).write('content');
    const hex = Buffer.from(signature).toString('hex');
    response.addTrailers([
      [`x-${hex}`, 'is a name'],
      ['X-T', 'is another'],
    ]);
    response.end();
  };
  const { head } = await call();
  const [name = ''] = /^.*(?=: is a name)/m.exec(head) ?? [];
  expect(head).toContain('x-t: is another');
  expect(name).toBe(`x-${'*'.repeat(signature.length * 2)}`);
});
