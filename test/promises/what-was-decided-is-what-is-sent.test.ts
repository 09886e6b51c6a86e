import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { basic, callThrough, dial, exchangeOn, exchangeRaw, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused, type TriedCall } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let task: StagedTask;

beforeAll(async () => {
  tool = await openEchoTool();
  stage = await openStage({
    tools: {
      free: { port: tool.port },
      bound: { port: tool.port, proof: 'dpop' },
      // Paths are ruled where a tool names them.
      ruled: { port: tool.port, more: { match: { host: 'ruled.test', paths: ['/api/**', '/b'] } } },
      raw: { port: tool.port, more: { match: { host: 'raw.test', paths: ['/**'] }, unsafe_raw_paths: true } },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});

function send(
  host: string,
  target: string,
  options: { method?: string; lines?: readonly string[]; body?: Buffer } = {},
): Promise<RawAnswer> {
  const { method = 'GET', lines = [], body = Buffer.alloc(0) } = options;
  const head = [
    `${method} http://${host}${target} HTTP/1.1`,
    `Host: ${host}`,
    `Proxy-Authorization: ${basic(task.handle)}`,
    ...lines,
  ];
  return exchangeRaw(
    stage.sidecar.addresses.outbound,
    Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), body]),
    30_000,
  );
}

const targets = [
  '/',
  '/a%2Fb',
  '/%7Euser',
  '/~user',
  '/a//b',
  '/./a/../b',
  '/a/%2e%2E/b',
  '/x;v=1',
  '/x?',
  '/x??',
  '/x?a=%zz&b=%00',
  '/x?q=http://evil.test/../',
  '/?x=1&x=2&&',
  '/*',
  '/caf%C3%A9',
  '/%ff%FE',
  '/a+b%20c',
  "/!$&'()*+,;=:@",
  '/{a}|b^c`d',
  '/%',
  '/x%5c..%5cy',
  '/a\\b',
  `/${'long/'.repeat(1500)}`,
];

describe('W13: the target that was decided is the target that is sent, byte for byte', () => {
  test('where no path is ruled', async () => {
    for (const target of targets) {
      const answer = await send('free.test', target);
      expect([target, answer.status, tool.seen.at(-1)?.path]).toEqual([target, 200, target]);
    }
    await send('free.test', '');
    await send('free.test', '?q=1');
    expect(tool.seen.slice(-2).map(({ path }) => path)).toEqual(['/', '/?q=1']);
  });

  test('through tunnels and mounts, and at a tool that takes raw paths', async () => {
    const { outbound } = stage.sidecar.addresses;
    for (const target of targets) {
      const mounted = await exchangeRaw(
        outbound,
        Buffer.from(`GET /tools/free${target} HTTP/1.1\r\nHost: ${outbound}\r\nx-api-key: ${task.handle}\r\n\r\n`),
      );
      const tunnelled = await callInTunnel(
        outbound,
        'free.test:80',
        { handle: task.handle },
        { url: target, headers: { Host: 'free.test' } },
      );
      const raw = await send('raw.test', target);
      expect([mounted.status, tunnelled.status, raw.status, ...tool.seen.slice(-3).map(({ path }) => path)]).toEqual([
        200,
        200,
        200,
        target,
        target,
        target,
      ]);
    }
  });

  test('and the proof names that target, without query', async () => {
    await send('bound.test', '/v1/pay%20now?amount=1#');
    await send('bound.test', '/v1/pay%20now?amount=1');
    const { rawHeaders = [] } = tool.seen.at(-1) ?? {};
    const proof = rawHeaders[rawHeaders.indexOf('DPoP') + 1] ?? '';
    expect(JSON.parse(Buffer.from(proof.split('.')[1] ?? '', 'base64url').toString())).toMatchObject({
      htm: 'GET',
      htu: 'http://bound.test/v1/pay%20now',
    });
  });

  test('W2: a path that a tool could read otherwise than our rules is refused where paths are ruled', async () => {
    const ambiguous = String.raw`
      /api/../b /api/.. /api/. /./api/x /api//x //api/x /api/%2e%2e/b /api/%2E./b /api/.%2e/x
      /api/%2fb /api%2Fb /api/x%5cy /api\x /api/x;y /api;/x /api/%3bx /api/%00 /api/%25%32%65
      /api/%252e%252e/b /api/% /api/%4 /api/%zz /api/%c0%ae%c0%ae/b /api/%ff /api/x%3fy /api/x%23y /%2e/api/x
      /api/x/..;/b /api/%2525 /api/%25%35%63 // ///api/x /api/x// /api/x/./
    `
      .trim()
      .split(/\s+/);
    const before = [tool.seen.length, stage.service.counts.token];
    const tried: TriedCall[] = [];
    for (const target of ambiguous) tried.push({ what: target, answer: await send('ruled.test', target) });
    await expectRefused(stage.sidecar.eventsFile, tried, 400, 'path_ambiguous');
    const unlisted: TriedCall[] = [];
    for (const target of ['/other', '/apix', '/', '/%61pix/x', '/API/x', '/b/c'])
      unlisted.push({ what: target, answer: await send('ruled.test', target) });
    await expectRefused(stage.sidecar.eventsFile, unlisted, 403, 'destination_unlisted');
    expect([tool.seen.length, stage.service.counts.token]).toEqual(before);
    for (const target of ['/api/x', '/%61pi/x', '/api/a%20b?c=/../d;e//f%2e', '/api/x..y/.z', '/b?;']) {
      expect([target, (await send('ruled.test', target)).status, tool.seen.at(-1)?.path]).toEqual([
        target,
        200,
        target,
      ]);
    }
  });
});

describe('W13: the body and the headers that were read are those that are sent', () => {
  const digest = (bytes: Buffer | undefined): string =>
    createHash('sha256')
      .update(bytes ?? '')
      .digest('hex');

  test.for([0, 1, 1000, 65_535, 65_536, 65_537, 1_000_000, 10_485_760])('%d bytes with a length', async (size) => {
    const body = randomBytes(size);
    const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://free.test/x', {
      method: 'POST',
      body,
      handle: task.handle,
    });
    const seen = tool.seen.at(-1);
    expect([answer.status, seen?.headers['content-length'], digest(seen?.body)]).toEqual([
      200,
      String(size),
      digest(body),
    ]);
  });

  test.for([1, 100, 65_536, 65_537, 3_000_000])('%d bytes in chunks of many sizes', async (size) => {
    const body = randomBytes(size);
    const chunks: Buffer[] = [];
    for (let at = 0, step = 1; at < size; at += step, step = Math.min(step * 3, 50_000)) {
      const part = body.subarray(at, at + step);
      chunks.push(Buffer.from(`${part.length.toString(16).toUpperCase()};ext="a;b"\r\n`), part, Buffer.from('\r\n'));
    }
    const answer = await send('bound.test', '/x', {
      method: 'PUT',
      lines: ['Transfer-Encoding: chunked'],
      body: Buffer.concat([...chunks, Buffer.from('0\r\n\r\n')]),
    });
    expect([answer.status, digest(tool.seen.at(-1)?.body)]).toEqual([200, digest(body)]);
  });

  test('compressed, with methods that have no body as a rule, and after "100 Continue"', async () => {
    const packed = gzipSync('the content');
    await send('free.test', '/x', {
      method: 'POST',
      lines: ['Content-Encoding: gzip', `Content-Length: ${packed.length}`],
      body: packed,
    });
    expect([tool.seen.at(-1)?.headers['content-encoding'], digest(tool.seen.at(-1)?.body)]).toEqual([
      'gzip',
      digest(packed),
    ]);
    for (const method of ['GET', 'DELETE', 'OPTIONS', 'PATCH', 'REPORT']) {
      const answer = await send('free.test', '/x', { method, lines: ['Content-Length: 4'], body: Buffer.from('body') });
      expect([answer.status, tool.seen.at(-1)?.method, tool.seen.at(-1)?.body.toString()]).toEqual([
        200,
        method,
        'body',
      ]);
    }
    const socket = dial(stage.sidecar.addresses.outbound);
    const head = `POST http://free.test/x HTTP/1.1\r\nHost: free.test\r\nProxy-Authorization: ${basic(task.handle)}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`;
    const continued = new Promise<string>((done) => socket.once('data', (chunk: Buffer) => done(chunk.toString())));
    socket.write(head);
    expect(await continued).toMatch(/^HTTP\/1\.1 100 /);
    expect((await exchangeOn(socket, Buffer.from('later'))).status).toBe(200);
    socket.destroy();
    expect([tool.seen.at(-1)?.body.toString(), tool.seen.at(-1)?.headers.expect]).toEqual(['later', undefined]);
  });

  test('headers in their order, case, count and bytes', async () => {
    const lines = [
      'X-Zeta: 1',
      'accept: text/html',
      'ACCEPT: */*',
      'x-Mixed-CASE: a,b ,  c',
      'X-Empty:',
      'X-Latin: caf\xe9',
      'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'User-Agent: an agent',
      'X-Zeta: 2',
    ];
    await send('free.test', '/x', { lines });
    const { rawHeaders = [] } = tool.seen.at(-1) ?? {};
    const pairs = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${rawHeaders[at + 1]}`] : []));
    const own = pairs.filter((line) => !/^(?:host|via|authorization|connection|accept-encoding):/i.test(line));
    expect(own).toEqual(lines.map((line) => line.replace(/:$/, ': ')));
    expect(pairs.filter((line) => /^host/i.test(line))).toEqual(['host: free.test']);
    expect(pairs.filter((line) => /^accept-enc/i.test(line))).toEqual(['Accept-Encoding: identity']);
  });
});
