import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { openScriptedTool, type ScriptedTool } from './scripted-tool.ts';

/** Bytes in which no part is like another, the same for each seed. */
export function patternBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let at = 0; at + 4 <= length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}

export const tenMiB = patternBytes(10 * 1024 * 1024);
export const gzipped = gzipSync(JSON.stringify({ a: 'compressed' }));

export function sha256(bytes: Buffer | string): string {
  return createHash('sha256')
    .update(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
    .digest('hex');
}

/** A tool with all kinds of bodies; what it answers is chosen by the path. */
export function openBodyTool(tls?: { readonly cert: string; readonly key: string }): Promise<ScriptedTool> {
  return openScriptedTool((request, response) => {
    const answer = answers[new URL(request.url ?? '/', 'http://tool').pathname.slice(1)];
    if (answer === undefined) response.writeHead(404, { 'content-length': 0 }).end();
    else answer(request, response);
  }, tls);
}

const answers: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {
  'down-length': (_request, response) => {
    response.writeHead(200, { 'content-length': tenMiB.length }).end(tenMiB);
  },
  'down-chunked': (_request, response) => {
    response.writeHead(200, { 'transfer-encoding': 'chunked' });
    for (let at = 0; at < tenMiB.length; at += 300_001) response.write(tenMiB.subarray(at, at + 300_001));
    response.end();
  },
  up: (request, response) => {
    const hash = createHash('sha256');
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    request.once('end', () => {
      const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
      const body = JSON.stringify({
        digest: hash.digest('hex'),
        bytes,
        length,
        coding,
        expect: request.headers.expect,
      });
      response.writeHead(200, { 'content-length': Buffer.byteLength(body) }).end(body);
    });
  },
  /** 200 MiB, written only as fast as they are taken. */
  endless: (_request, response) => {
    const part = Buffer.alloc(1024 * 1024, 7);
    let left = 200;
    const more = (): void => {
      while (left > 0) {
        left -= 1;
        if (!response.write(part)) {
          response.once('drain', more);
          return;
        }
      }
      response.end();
    };
    response.writeHead(200, { 'content-length': left * part.length });
    more();
  },
  /** Takes nothing of the body until a second has passed. */
  slow: (request, response) => {
    request.pause();
    setTimeout(() => {
      answers['up']?.(request, response);
      request.resume();
    }, 1000);
  },
  'too-large': (_request, response) => {
    response.writeHead(413, { 'content-length': 9, connection: 'close' }).end('too large');
  },
  'too-large-kept': (request, response) => {
    response.writeHead(413, { 'content-length': 9 }).end('too large');
    request.resume();
  },
  gzip: (_request, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': gzipped.length, etag: '"1"' }).end(gzipped);
  },
  'no-content': (_request, response) => void response.writeHead(204, { 'x-kind': 'none' }).end(),
  'not-modified': (_request, response) => void response.writeHead(304, { etag: '"1"', 'content-length': 500 }).end(),
  trailers: (_request, response) => {
    response.writeHead(200, { trailer: 'x-digest', 'transfer-encoding': 'chunked' }).write('body');
    response.addTrailers({ 'x-digest': 'abc', 'set-cookie': 'a=b' });
    response.end();
  },
  head: (_request, response) => void response.writeHead(200, { 'content-length': 1234, 'x-kind': 'head' }).end(),
  'until-close': (request, response) => {
    // As a server without framing writes it: the end of the connection is the end of the body.
    response.socket?.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end');
    request.resume();
  },
  hello: (_request, response) => void response.writeHead(200, { 'content-length': 5 }).end('hello'),
  // Ends after one that was asked for behind it.
  late: (_request, response) =>
    void setTimeout(() => response.writeHead(200, { 'content-length': 4 }).end('late'), 100),
};
