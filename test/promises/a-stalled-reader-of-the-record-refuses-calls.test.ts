import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { admittedPaths, checkChain, readRecord } from '../stage/event-record.ts';
import { startLoad } from '../stage/load.ts';
import { basic, callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let crm: EchoTool;
let dir: string;

beforeAll(async () => {
  crm = await openEchoTool();
  dir = mkdtempSync(join(tmpdir(), 'waybill-pipe-'));
});
afterAll(async () => {
  await crm.close();
  rmSync(dir, { recursive: true });
});

/** A pipe with both ends in hand: what a container's runtime reads the record from. */
function openPipe(name: string): { reader: number; writer: number } {
  const path = join(dir, name);
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { reader, writer: openSync(path, constants.O_WRONLY) };
}

/** What lies in the pipe now. */
function drain(reader: number): Buffer {
  const parts: Buffer[] = [];
  const part = Buffer.alloc(65_536);
  for (;;) {
    try {
      const count = readSync(reader, part);
      if (count === 0) break;
      parts.push(Buffer.from(part.subarray(0, count)));
    } catch {
      break;
    }
  }
  return Buffer.concat(parts);
}

async function callUntilRefused(stage: Stage, handle: string): Promise<{ passed: number; refused: RawAnswer }> {
  for (let passed = 0; passed < 2000; passed += 1) {
    const answer = await callThrough(stage.sidecar.addresses.outbound, `http://crm.test/${passed}`, { handle });
    if (answer.status !== 200) return { passed, refused: answer };
  }
  throw new Error('no call was refused');
}

test('W7: standard output alone as the record: when nobody reads it, calls are refused; when somebody does, they go on', async () => {
  const { reader, writer } = openPipe('stalled');
  const stage = await openStage({
    tools: { crm: { port: crm.port } },
    sections: { record: { stdout: true } },
    start: { stdout: writer },
  });
  closeSync(writer);
  try {
    crm.seen.length = 0;
    const { outbound, health } = stage.sidecar.addresses;
    const { handle } = await stage.task();
    const { passed, refused } = await callUntilRefused(stage, handle);
    expect([refused.status, refused.code]).toEqual([503, 'record_unavailable']);
    expect(passed).toBeGreaterThan(20);
    expect(crm.seen).toHaveLength(passed);
    // A pipe that is full stops calls, and not the process.
    expect((await fetch(`http://${health}/livez`)).status).toBe(200);
    expect((await fetch(`http://${health}/readyz`)).status).toBe(503);

    const record = [drain(reader)];
    await sleep(500);
    record.push(drain(reader));
    expect((await callThrough(outbound, 'http://crm.test/after', { handle })).status).toBe(200);
    await stage.sidecar.stop();
    record.push(drain(reader));
    const file = join(dir, 'stdout.jsonl');
    writeFileSync(file, Buffer.concat(record));
    const { torn } = await checkChain(file);
    expect(torn.length).toBeLessThanOrEqual(2);
    const admitted = admittedPaths(readRecord(file));
    expect(crm.seen.filter(({ path }) => !admitted.has(path))).toEqual([]);
    expect(admitted.has('/after')).toBe(true);
  } finally {
    await stage.close();
    closeSync(reader);
  }
});

test('W7: standard output alone as the record, under load: a line that the pipe took in part is finished before anything else', async () => {
  const { reader, writer } = openPipe('loaded');
  const stage = await openStage({
    tools: { crm: { port: crm.port } },
    sections: { record: { stdout: true } },
    start: { stdout: writer },
  });
  closeSync(writer);
  const record: Buffer[] = [];
  // It reads now and then, and less than is written: the pipe is full again and again.
  const sipping = setInterval(() => record.push(drain(reader)), 40);
  try {
    crm.seen.length = 0;
    const headers = { 'proxy-authorization': basic((await stage.task()).handle) };
    let count = 0;
    const load = startLoad(stage.sidecar.addresses.outbound, 48, () => {
      count += 1;
      return { origin: 'http://crm.test', path: `/${count}`, headers };
    });
    await sleep(1500);
    await load.stop();
    await stage.sidecar.stop();
    record.push(drain(reader));
    const file = join(dir, 'loaded.jsonl');
    writeFileSync(file, Buffer.concat(record));
    const { torn } = await checkChain(file);
    expect(torn.length).toBeLessThanOrEqual(1);
    const admitted = admittedPaths(readRecord(file));
    const refused = load.answers.filter(({ status }) => status === 503);
    expect(refused.length).toBeGreaterThan(0);
    const seen = new Set(crm.seen.map(({ path }) => path));
    expect([...seen].filter((path) => !admitted.has(path))).toEqual([]);
    expect(refused.filter(({ path }) => seen.has(path))).toEqual([]);
  } finally {
    clearInterval(sipping);
    await stage.close();
    closeSync(reader);
  }
});

test('W7: standard output alone as the record: when its reader is gone, calls are refused and the process lives', async () => {
  const { reader, writer } = openPipe('closed');
  const stage = await openStage({
    tools: { crm: { port: crm.port } },
    sections: { record: { stdout: true } },
    start: { stdout: writer },
  });
  closeSync(writer);
  try {
    const { handle } = await stage.task();
    closeSync(reader);
    crm.seen.length = 0;
    const { passed, refused } = await callUntilRefused(stage, handle);
    expect([passed, refused.status, refused.code]).toEqual([0, 503, 'record_unavailable']);
    expect(crm.seen).toEqual([]);
    expect((await fetch(`http://${stage.sidecar.addresses.health}/livez`)).status).toBe(200);
  } finally {
    await stage.close();
  }
});

test('W7: beside a file, standard output is a copy: a reader that stalls refuses nothing', async () => {
  const { reader, writer } = openPipe('copy');
  const stage = await openStage({
    tools: { crm: { port: crm.port } },
    sections: { record: { file: join(dir, 'events.jsonl'), stdout: true } },
    start: { stdout: writer },
  });
  closeSync(writer);
  try {
    crm.seen.length = 0;
    const { handle } = await stage.task();
    for (let count = 0; count < 200; count += 1) {
      const answer = await callThrough(stage.sidecar.addresses.outbound, `http://crm.test/${count}`, { handle });
      expect(answer.status).toBe(200);
    }
    await stage.sidecar.stop();
    await checkChain(join(dir, 'events.jsonl'));
    expect(admittedPaths(readRecord(join(dir, 'events.jsonl'))).size).toBe(200);
    expect(drain(reader).length).toBeGreaterThan(10_000);
  } finally {
    await stage.close();
    closeSync(reader);
  }
});
