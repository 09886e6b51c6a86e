import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { dial, requestBytes } from '../stage/raw-call.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { Wire } from '../stage/wire.ts';

/** Longer than a head may take, which is looked at every two seconds. */
const longMs = 26_000;
const tailBytes = 8_000_000;
/** Calls whose answer was left before it was whole. */
const left: string[] = [];
let tool: EchoTool;
let stage: WayInStage;

/** `/begun/MS` begins at once, and `/silent/MS` says nothing before; both end so many milliseconds later. */
function answer({ path }: { readonly path: string }, response: ServerResponse): void {
  const [, how, ms] = path.split('/');
  response.once('close', () => response.writableFinished || left.push(path));
  if (how === 'begun') response.writeHead(200, { 'content-length': tailBytes + 5 }).write('first');
  setTimeout(() => response.end(how === 'begun' ? Buffer.alloc(tailBytes, '9') : 'whole'), Number(ms));
}

beforeAll(async () => {
  tool = await openEchoTool({ answer });
  stage = await openWayIn({
    inbound: { forward_to: `http://127.0.0.1:${tool.port}` },
    tools: { open: { port: tool.port, token: false } },
  });
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

const ways = ['out', 'in'] as const;
type Way = (typeof ways)[number];

/** Sends a request and, when the tool has it, more bytes on the same connection. */
async function send(way: Way, path: string, behind: string, header: Record<string, string> = {}): Promise<Wire> {
  const { sidecar } = stage;
  const { outbound, inbound = '' } = sidecar.addresses;
  const wire = new Wire(dial(way === 'out' ? outbound : inbound));
  const headers = Object.entries(header);
  if (way === 'out')
    wire.socket.write(requestBytes('GET', `http://open.test${path}`, { Host: 'open.test', ...header }));
  else wire.socket.write((await stage.caller()).bytes({ path, headers }));
  await eventually('it is with the tool', () => tool.seen.some((call) => call.path === path));
  await sleep(100);
  wire.socket.write(behind);
  return wire;
}

/** What came behind the answer that began at once; undefined where that is not whole. */
function behindWhole({ received }: Wire): string | undefined {
  const body = received.slice(received.indexOf('\r\n\r\n') + 4);
  return body.startsWith(`first${'9'.repeat(tailBytes)}`) ? body.slice(tailBytes + 5) : undefined;
}

const halfHead = 'GET /next HTTP/1.1\r\nHo';

test.concurrent.each(ways)('a head that never ends, way %s', { timeout: 60_000 }, async (way) => {
  const [begun, silent] = await Promise.all([
    send(way, `/begun/${longMs}/${way}`, halfHead),
    send(way, `/silent/${longMs}/${way}`, halfHead),
  ]);
  const { outbound, inbound = '' } = stage.sidecar.addresses;
  const alone = new Wire(dial(way === 'out' ? outbound : inbound));
  alone.socket.write(halfHead);
  // Whoever has nothing under way is cut, and the others end behind their answers.
  await alone.untilClosed(longMs - 1000);
  await Promise.all([begun.untilClosed(40_000), silent.untilClosed(40_000)]);
  expect([behindWhole(begun), begun.endedInOrder]).toEqual(['', true]);
  expect([silent.received.slice(-5), silent.endedInOrder]).toEqual(['whole', true]);
  // Its head was written when it was known that nothing behind it is answered: a client would send its next request there.
  expect(silent.received).toMatch(/^connection: close\r$/im);
});

test.concurrent.each(ways)('bytes that are no request and do not stop, way %s', { timeout: 30_000 }, async (way) => {
  const wire = await send(way, `/begun/1500/stream/${way}`, 'junk that is no request\r\n\r\n');
  const more = setInterval(() => wire.socket.writable && wire.socket.write(Buffer.alloc(50_000, 'x')), 5);
  wire.socket.once('end', () => setTimeout(() => clearInterval(more), 200));
  await wire.untilClosed(20_000);
  clearInterval(more);
  expect(behindWhole(wire)).toMatch(/^HTTP\/1\.1 400 .*"code":"message_malformed"/s);
});

test.concurrent.each(ways)('a request behind one that was to be the last, way %s', async (way) => {
  const wire = await send(way, `/begun/1000/last/${way}`, `${halfHead}st: x\r\n\r\n`, { Connection: 'close' });
  await wire.untilClosed(10_000);
  expect([behindWhole(wire), wire.endedInOrder]).toEqual(['', true]);
});

const leaving = [
  ['junk', 'junk that is no request\r\n\r\n', 'begun', 300],
  ['one byte', 'G', 'begun', 300],
  ['half a head', halfHead, 'begun', 300],
  ['a head that took too long', halfHead, 'silent', 23_500],
] as const;
const rows = ways.flatMap((way) => leaving.map((row) => [...row, way] as const));

test.concurrent.each(rows)(
  'one who leaves behind %s is noticed',
  { timeout: 60_000 },
  async (what, behind, how, ms, way) => {
    const path = `/${how}/40000/left/${what.replaceAll(' ', '-')}/${way}`;
    const wire = await send(way, path, behind);
    await sleep(ms);
    expect(left).not.toContain(path);
    wire.socket.destroy();
    await eventually('the tool knows it', () => left.includes(path));
  },
);
