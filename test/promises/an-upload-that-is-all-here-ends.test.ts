import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EchoTool, openEchoTool } from '../stage/echo-tool.ts';
import { basic, dial, requestBytes } from '../stage/raw-call.ts';
import { openWayIn } from '../stage/way-in-stage.ts';
import { openStage } from '../stage/way-out-stage.ts';
import { Wire } from '../stage/wire.ts';

// Longer than what is collected, and short enough to be here before anybody asks for it.
const sizes = [65_536, 65_537, 70_000, 100_000, 131_072, 400_000];

let tool: EchoTool;

beforeAll(async () => {
  tool = await openEchoTool({
    answer: ({ method, body }, response) =>
      void sleep(method === 'GET' ? 150 : 0).then(() => response.end(`${body.length} bytes`)),
  });
});
afterAll(() => tool?.close());

function chunked(size: number): Buffer {
  return Buffer.concat([
    Buffer.from(`${size.toString(16)}\r\n`),
    Buffer.alloc(size, 'a'),
    Buffer.from('\r\n0\r\n\r\n'),
  ]);
}

/** What a body of that size looks like, and the lines that say so. */
function framed(size: number, isChunked: boolean): { readonly line: readonly [string, string]; readonly body: Buffer } {
  if (isChunked) return { line: ['Transfer-Encoding', 'chunked'], body: chunked(size) };
  return { line: ['Content-Length', String(size)], body: Buffer.alloc(size, 'a') };
}

test('W13: on the way in, an upload that came at once ends', async () => {
  const stage = await openWayIn({ inbound: { forward_to: `http://127.0.0.1:${tool.port}` } });
  try {
    const caller = await stage.caller();
    const host = new URL(stage.origin).host;
    const before = tool.connections();
    for (const size of sizes) {
      for (const isChunked of [true, false, true, false]) {
        const { line, body } = framed(size, isChunked);
        const answer = await caller.call({ method: 'POST', path: '/up', body, framing: [['Host', host], line] });
        expect([line, answer.status, answer.body]).toEqual([line, 200, `${size} bytes`]);
      }
    }
    // One that was not seen to end would cost the connection to the program.
    expect(tool.connections() - before).toBe(1);
  } finally {
    await stage.close();
  }
});

test('W13: on the way out, so does one that waited for its turn', async () => {
  const stage = await openStage({ tools: { crm: { port: tool.port } } });
  try {
    const own = { Host: 'crm.test', 'Proxy-Authorization': basic((await stage.task()).handle) };
    const slow = requestBytes('GET', 'http://crm.test/slow', own);
    for (const size of sizes) {
      for (const isChunked of [true, false]) {
        const { line, body } = framed(size, isChunked);
        const wire = new Wire(dial(stage.sidecar.addresses.outbound));
        const upload = requestBytes('POST', 'http://crm.test/up', { ...own, [line[0]]: line[1] }, body);
        wire.socket.write(Buffer.concat([slow, upload]));
        await wire.until(`${size} bytes`, 4000);
        wire.socket.destroy();
      }
    }
  } finally {
    await stage.close();
  }
});
