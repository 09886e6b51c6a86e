import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { listenOnFreePort } from '../stage/free-port.ts';
import { dial, requestBytes } from '../stage/raw-call.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { Wire } from '../stage/wire.ts';

let tool: EchoTool;
let stage: WayInStage;

/** A tool that answers before it has read anything. */
const hasty = createServer((request, response) => void response.end('done', () => request.resume()));

beforeAll(async () => {
  tool = await openEchoTool();
  const port = await listenOnFreePort(hasty);
  stage = await openWayIn({ tools: { open: { port: tool.port, token: false }, hasty: { port, token: false } } });
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
  hasty.closeAllConnections();
  hasty.close();
});

type Way = 'out' | 'in';
/** More than is collected before it is sent on. */
const large = String(200_000);
const coding = ['Transfer-Encoding', 'chunked'] as const;

/** The head of an upload and the beginning of its body. */
async function beginning(way: Way, isGood: boolean, framing: readonly [string, string], body: string): Promise<Buffer> {
  if (way === 'out') {
    const host = isGood ? 'open.test' : 'nowhere.test';
    return requestBytes('POST', `http://${host}/up`, { Host: host, [framing[0]]: framing[1] }, body);
  }
  const caller = await stage.caller();
  const framed: readonly (readonly [string, string])[] = [['Host', new URL(stage.origin).host], framing];
  const proof = isGood ? undefined : { proof: caller.proofFor({ path: '/up' }) };
  return Buffer.concat([
    caller.bytes({ method: 'POST', path: '/up', framing: framed, ...proof }),
    Buffer.from(body, 'latin1'),
  ]);
}

/** What the metrics say of requests, and which calls were refused or admitted by the record. */
async function told() {
  const line = /^waybill_requests_total\{[^}]*outcome="(?<outcome>\w+)"[^}]*\} (?<count>\d+)$/;
  const counts: Record<string, number> = {};
  for (const text of (await stage.sidecar.metrics()).split('\n')) {
    const { outcome = '', count = '0' } = line.exec(text)?.groups ?? {};
    if (count !== '0') counts[outcome] = (counts[outcome] ?? 0) + Number(count);
  }
  const calls = stage.sidecar.events().filter(({ event }) => event === 'call.refused' || event === 'call.admitted');
  return { counts, calls: calls.map((event) => event['code'] ?? event['event']) };
}

type Told = Awaited<ReturnType<typeof told>>;

function since(before: Told, now: Told) {
  const grown = Object.entries(now.counts).map(([name, count]) => [name, count - (before.counts[name] ?? 0)] as const);
  return {
    counts: Object.fromEntries(grown.filter(([, count]) => count > 0)),
    calls: now.calls.slice(before.calls.length),
  };
}

const ways = ['out', 'in'] as const;

test.each(ways)('W1: an upload that was refused, and whose sender leaves in the middle, way %s', async (way) => {
  const bytes = await beginning(way, false, ['Content-Length', '10'], 'hello');
  const before = await told();
  const wire = new Wire(
    dial(way === 'out' ? stage.sidecar.addresses.outbound : (stage.sidecar.addresses.inbound ?? '')),
  );
  wire.socket.write(bytes);
  await wire.until(/HTTP\/1\.1 40\d [^]*retryable/);
  wire.socket.end();
  await wire.untilClosed(5000);
  // Another one would come a turn of the loop later.
  await sleep(100);
  const code = way === 'out' ? 'destination_unlisted' : 'proof_wrong_method';
  expect(since(before, await told())).toEqual({ counts: { refused: 1 }, calls: [code] });
  expect(wire.received.match(/HTTP\/1\.1/g)).toHaveLength(1);
});

const ends = {
  'is left in the middle': { framing: ['Content-Length', large], body: 'hello', last: '' },
  'is broken in the middle': { framing: coding, body: `30000\r\n${'x'.repeat(0x30000)}\r\n`, last: 'ZZ\r\n' },
} as const;
const rows = Object.entries(ends).flatMap(([what, end]) => ways.map((way) => ({ what, way, ...end })));

test.each(rows)('W1: an upload that is under way and $what, way $way', async ({ way, framing, body, last }) => {
  const bytes = await beginning(way, true, framing, body);
  const before = await told();
  const wire = new Wire(
    dial(way === 'out' ? stage.sidecar.addresses.outbound : (stage.sidecar.addresses.inbound ?? '')),
  );
  wire.socket.write(bytes);
  await eventually('it is on its way', async () => since(before, await told()).calls.length > 0);
  await sleep(100);
  if (last === '') wire.socket.end();
  else wire.socket.write(last);
  await wire.untilClosed(5000);
  await eventually('it is over', async () => since(before, await told()).counts['aborted'] === 1);
  await sleep(100);
  expect(since(before, await told())).toEqual({ counts: { aborted: 1 }, calls: ['call.admitted'] });
  // Where the answer names an event, it is that of the call.
  const event = /"event":"(?<id>[^"]+)"/.exec(wire.received)?.groups?.['id'];
  const [admitted] = stage.sidecar
    .events()
    .filter((one) => one['event'] === 'call.admitted')
    .slice(-1);
  if (event !== undefined) expect(event).toBe(admitted?.['id']);
});

test('W1: an upload that was answered before it was all there, and is left', async () => {
  const headers = { Host: 'hasty.test', 'Content-Length': large };
  const before = await told();
  const wire = new Wire(dial(stage.sidecar.addresses.outbound));
  wire.socket.write(requestBytes('POST', 'http://hasty.test/up', headers, 'hello'));
  await wire.until('done');
  wire.socket.end();
  await wire.untilClosed(5000);
  await sleep(100);
  expect(since(before, await told())).toEqual({ counts: { ok: 1 }, calls: ['call.admitted'] });
  expect(wire.received.match(/HTTP\/1\.1/g)).toHaveLength(1);
});
