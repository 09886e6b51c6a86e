import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { eventsOf, readRecord } from '../stage/event-record.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWire, request, waysIn, type Destination, type Way, type Wire } from '../stage/wire.ts';

/** Takes the head of a request, and nothing of its body until a test does. */
let plain: ScriptedTool;
let tls: ScriptedTool;
let stage: Stage;
let to: Destination;

beforeAll(async () => {
  const certificate = await makeToolCertificate('secure.test');
  plain = await openScriptedTool(() => undefined);
  tls = await openScriptedTool(() => undefined, certificate);
  const tools = { plain: { port: plain.port }, secure: { port: tls.port, ca: certificate.ca } };
  stage = await openStage({ tools });
  const { handle } = await stage.task();
  const ca = readFileSync(stage.sidecar.caFile, 'utf8');
  to = { outbound: stage.sidecar.addresses.outbound, handle, plainHost: 'plain.test', tlsHost: 'secure.test', ca };
});
afterAll(async () => {
  await stage?.close();
  await plain?.close();
  await tls?.close();
});

const bodyBytes = 40_000_000;
const ends = (path: string) =>
  eventsOf(readRecord(stage.sidecar.eventsFile), path).filter((e) => e.event === 'call.ended');

/** Sends more than all buffers on the way take; resolves when the tool has the head, and nothing moves any more. */
async function upload(way: Way, path: string, written: number): Promise<Wire> {
  const wire = await openWire(way, to);
  wire.socket.write(request(way, to, path, { method: 'POST', headers: { 'Content-Length': String(bodyBytes) } }));
  wire.socket.write(Buffer.alloc(written, 7));
  const tool = way === 'CONNECT, TLS' ? tls : plain;
  await eventually('the tool is called', () => tool.requests.some(({ url }) => url === path));
  await sleep(500);
  return wire;
}

const departures: Record<string, (wire: Wire) => void> = {
  closes: ({ socket }) => void socket.destroy(),
  resets: ({ socket }) => void socket.resetAndDestroy(),
};

// A connection in TLS cannot be reset by its client here.
const cases = waysIn.flatMap((way) => Object.keys(departures).map((how) => [way, how] as const)).slice(0, -1);

test.concurrent.each(cases)(
  '%s: one that %s its connection while the tool does not read',
  { timeout: 20_000 },
  async (way, how) => {
    const path = `/left-${way.replaceAll(/\W/g, '')}-${how}`;
    const wire = await upload(way, path, 20_000_000);
    departures[how]?.(wire);
    await eventually('the end is recorded', () => ends(path).length === 1, 10_000);
    expect(ends(path)[0]).toMatchObject({ outcome: 'aborted', status: 0 });
    const tool = way === 'CONNECT, TLS' ? tls : plain;
    const seen = tool.requests.find(({ url }) => url === path);
    seen?.resume();
    await eventually('the tool knows it, too', () => seen?.destroyed === true);
    expect([seen?.complete, Number(ends(path)[0]?.['bytes_in']) < 20_000_000]).toEqual([false, true]);
  },
);

test.concurrent.each(waysIn)('%s: one that stays is waited for', { timeout: 30_000 }, async (way) => {
  const path = `/stays-${way.replaceAll(/\W/g, '')}`;
  const wire = await upload(way, path, bodyBytes);
  // It says that nothing more follows, as clients may that wait for their answer.
  if (way === 'absolute-form') wire.socket.end();
  await sleep(7000);
  const tool = way === 'CONNECT, TLS' ? tls : plain;
  const seen = tool.requests.find(({ url }) => url === path);
  let size = 0;
  seen?.on('data', (chunk: Buffer) => (size += chunk.length));
  await eventually('the tool has all of it', () => size === bodyBytes, 10_000);
  expect(seen?.complete).toBe(true);
  expect(ends(path)).toEqual([]);
  wire.socket.destroy();
});

test('what a call sent in chunks is recorded', async () => {
  const wire = await openWire('absolute-form', to);
  const headers = { 'Transfer-Encoding': 'chunked' };
  wire.socket.write(request('absolute-form', to, '/chunks', { method: 'POST', headers }));
  await sleep(100);
  for (let count = 0; count < 3; count += 1) wire.socket.write(`186a0\r\n${'x'.repeat(100_000)}\r\n`);
  await eventually('the tool is called', () => plain.requests.some(({ url }) => url === '/chunks'));
  plain.requests.find(({ url }) => url === '/chunks')?.resume();
  await sleep(300);
  wire.socket.destroy();
  await eventually('the end is recorded', () => ends('/chunks').length === 1);
  expect(ends('/chunks')[0]).toMatchObject({ outcome: 'aborted', bytes_in: 300_000 });
});
