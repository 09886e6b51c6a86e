import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readCpuNs } from '../../loadtest/cpu.ts';
import { basic, dial, requestBytes } from '../stage/raw-call.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { tries } from '../stage/tries.ts';

const gibibyte = 2 ** 30;
/**
 * Two gigabytes for each of both, in slices that take turns: so that a busy machine is busy for both. Two thirds of the time go into a
 * collection of the heap for every 34 MB; which slice it falls on is chance, so slices are many times as long, and their sums are compared.
 */
const slices = 8;
const sliceBytes = gibibyte / 4;

let tool: ScriptedTool;
let stage: Stage;
let task: StagedTask;

/** Records as an export of customers has them: text, numbers, and base64 that is no token. */
const chunk = Buffer.from(
  Array.from(
    { length: 700 },
    (_, id) => `{"id":${id},"name":"customer ${id}","key":"${Buffer.from(`some key ${id}`).toString('base64')}"}\n`,
  ).join(''),
);

beforeAll(async () => {
  tool = await openScriptedTool((_request, response) => void pour(response));
  const { port } = tool;
  stage = await openStage({
    tools: { screened: { port }, open: { port, more: { unsafe_response_screen: 'off' } } },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

async function pour(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'Content-Length': sliceBytes });
  for (let sent = 0; sent < sliceBytes && !response.destroyed; sent += chunk.length) {
    const piece = chunk.subarray(0, Math.min(chunk.length, sliceBytes - sent));
    if (!response.write(piece)) await once(response, 'drain');
  }
  response.end();
}

/** Downloads a slice; returns the processor time of the sidecar, seconds. */
async function download(name: string): Promise<number> {
  const { pid } = stage.sidecar;
  const before = readCpuNs(pid);
  const socket = dial(stage.sidecar.addresses.outbound);
  const headers = { Host: `${name}.test`, Connection: 'close', 'Proxy-Authorization': basic(task.handle) };
  socket.write(requestBytes('GET', `http://${name}.test/export`, headers));
  let received = 0;
  socket.on('data', (data: Buffer) => (received += data.length));
  await once(socket, 'close');
  expect(received).toBeGreaterThan(sliceBytes);
  return (readCpuNs(pid) - before) / 1e9;
}

function residentMiB(): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${stage.sidecar.pid}/status`, 'utf8'))?.[1]) / 1024;
}

test(
  'W3: the screen costs a download at most three tenths more, and no memory',
  { ...tries, timeout: 280_000 },
  async () => {
    await download('screened');
    const before = residentMiB();
    const costs = { screened: [] as number[], open: [] as number[] };
    for (let slice = 0; slice < slices; slice += 1) {
      costs.open.push(await download('open'));
      costs.screened.push(await download('screened'));
    }
    const grown = residentMiB() - before;
    const sum = (all: readonly number[]): number => all.reduce((one, other) => one + other, 0);
    const ratio = sum(costs.screened) / sum(costs.open);
    console.log(
      `two gibibytes each: ${sum(costs.open).toFixed(2)} s of processor time without the screen, ` +
        `${sum(costs.screened).toFixed(2)} s with it; ratio ${ratio.toFixed(2)}; ${grown.toFixed(0)} MiB more at the peak`,
    );
    expect(ratio).toBeLessThan(1.3);
    expect(grown).toBeLessThan(64);
  },
);
