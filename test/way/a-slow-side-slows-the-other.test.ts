import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBodyTool } from '../stage/body-tool.ts';
import type { ScriptedTool } from '../stage/scripted-tool.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openWire, request, waysIn, type Destination } from '../stage/wire.ts';

const mebibyte = 1024 * 1024;
/** What the buffers of all sockets on the way, and the collector's patience, may come to. */
const mostGrowth = 80 * mebibyte;

let stage: Stage;
let tools: ScriptedTool[];
let to: Destination;

beforeAll(async () => {
  const certificate = await makeToolCertificate('secure.test');
  tools = [await openBodyTool(), await openBodyTool(certificate)];
  const [plain, secure] = tools.map(({ port }) => port);
  stage = await openStage({
    tools: { plain: { port: plain ?? 0 }, secure: { port: secure ?? 0, ca: certificate.ca } },
  });
  const { handle } = await stage.task();
  const ca = readFileSync(stage.sidecar.caFile, 'utf8');
  to = { outbound: stage.sidecar.addresses.outbound, handle, plainHost: 'plain.test', tlsHost: 'secure.test', ca };
});
afterAll(async () => {
  await stage.close();
  for (const tool of tools) await tool.close();
});

function residentBytes(): number {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${stage.sidecar.pid}/status`, 'utf8'));
  return Number(line?.[1]) * 1024;
}

/** Largest growth of the sidecar's memory while work is under way. */
async function growthDuring(work: () => Promise<void>): Promise<number> {
  const before = residentBytes();
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, residentBytes())), 10);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return most - before;
}

/** Bytes that went into the connections that are open now. */
function sentByTools(): number {
  return tools.flatMap((tool) => [...tool.sockets]).reduce((sum, socket) => sum + socket.bytesWritten, 0);
}

test.each(waysIn)(
  '%s: 200 MiB to an agent that reads slowly pass through bounded memory',
  async (way) => {
    // A first transfer brings the memory to its working size.
    const warm = await openWire(way, to, false);
    warm.socket.write(request(way, to, '/down-length'));
    await warm.untilBytes(10 * mebibyte);
    warm.socket.destroy();

    const sentBefore = sentByTools();
    const wire = await openWire(way, to, false);
    const growth = await growthDuring(async () => {
      wire.socket.write(request(way, to, '/endless'));
      await wire.untilBytes(mebibyte);
      wire.socket.pause();
      await sleep(1000);
      // The tool was slowed as well: what it has sent by now lies in buffers.
      expect(sentByTools() - sentBefore).toBeLessThan(60 * mebibyte);
      wire.socket.resume();
      while (wire.bytes < 200 * mebibyte) {
        await wire.untilBytes(Math.min(200 * mebibyte, wire.bytes + 20 * mebibyte));
        wire.socket.pause();
        await sleep(20);
        wire.socket.resume();
      }
    });
    wire.socket.destroy();
    expect(growth).toBeLessThan(mostGrowth);
  },
  60_000,
);

test('200 MiB to a tool that reads slowly pass through bounded memory', async () => {
  const wire = await openWire('absolute-form', to);
  const headers = { 'Content-Length': String(200 * mebibyte), Connection: 'close' };
  const part = Buffer.alloc(mebibyte, 7);
  const growth = await growthDuring(async () => {
    wire.socket.write(request('absolute-form', to, '/slow', { method: 'POST', headers }));
    const startedAt = performance.now();
    for (let count = 0; count < 200; count += 1) {
      if (!wire.socket.write(part)) await new Promise((done) => wire.socket.once('drain', done));
    }
    // It could not be sent before the tool began to read.
    expect(performance.now() - startedAt).toBeGreaterThan(500);
    await wire.untilClosed(30_000);
  });
  expect(wire.received).toContain(`"bytes":${200 * mebibyte}`);
  expect(growth).toBeLessThan(mostGrowth);
}, 60_000);
