import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { runWaybill } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { admittedPaths, checkChain, readRecord } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let crm: EchoTool;
let dir: string;

beforeAll(async () => {
  crm = await openEchoTool();
  dir = mkdtempSync(join(tmpdir(), 'waybill-no-file-'));
});
afterAll(async () => {
  await crm.close();
  rmSync(dir, { recursive: true });
});

function makePipe(name: string): { path: string; reader: number } {
  const path = join(dir, name);
  execFileSync('mkfifo', [path]);
  return { path, reader: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) };
}

/** What lies in the pipe now. */
function drain(reader: number): Buffer {
  const parts: Buffer[] = [];
  const part = Buffer.alloc(65_536);
  try {
    for (let count = readSync(reader, part); count > 0; count = readSync(reader, part))
      parts.push(Buffer.from(part.subarray(0, count)));
  } catch {
    // Nothing more for now.
  }
  return Buffer.concat(parts);
}

const open = (file: string, stdout?: number): Promise<Stage> =>
  openStage({
    tools: { crm: { port: crm.port } },
    sections: {
      record: { file },
      operator: { socket: join(dir, 'o.sock'), revocations: join(dir, 'revocations.json') },
    },
    start: stdout === undefined ? {} : { stdout },
  });

async function callUntilRefused(stage: Stage, handle: string): Promise<{ passed: number; refused: RawAnswer }> {
  for (let passed = 0; passed < 2000; passed += 1) {
    const answer = await callThrough(stage.sidecar.addresses.outbound, `http://crm.test/${passed}`, { handle });
    if (answer.status !== 200) return { passed, refused: answer };
  }
  throw new Error('no call was refused');
}

/** A reader that stalls, and reads again. Of what was admitted all stands in what it read. */
async function checkStalled(stage: Stage, reader: number): Promise<void> {
  const { outbound, health, socket } = stage.sidecar.addresses;
  crm.seen.length = 0;
  const { handle } = await stage.task();
  const { passed, refused } = await callUntilRefused(stage, handle);
  expect([refused.status, refused.code]).toEqual([503, 'record_unavailable']);
  expect(passed).toBeGreaterThan(20);
  expect(crm.seen).toHaveLength(passed);
  expect((await fetch(`http://${health}/livez`)).status).toBe(200);
  expect((await fetch(`http://${health}/readyz`)).status).toBe(503);
  // What is read of a pipe here would be missing there.
  expect((await callOperator(socket, 'GET', '/v1/events')).status).toBe(404);

  const record = [drain(reader)];
  const isReady = async () => (await fetch(`http://${health}/readyz`)).status === 200;
  await eventually('the record takes lines again', async () => (record.push(drain(reader)), await isReady()));
  expect((await callThrough(outbound, 'http://crm.test/after', { handle })).status).toBe(200);
  await sleep(100);
  await stage.sidecar.stop();
  record.push(drain(reader));
  const file = join(dir, 'read.jsonl');
  writeFileSync(file, Buffer.concat(record));
  await checkChain(file);
  const admitted = admittedPaths(readRecord(file));
  expect(crm.seen.filter(({ path }) => !admitted.has(path))).toEqual([]);
  expect(admitted.has('/after')).toBe(true);
}

test('W7: /dev/stdout as the file of the record is standard output: a reader that stalls refuses calls, and stops nothing else', async () => {
  const { path, reader } = makePipe('stdout');
  const writer = openSync(path, constants.O_WRONLY);
  const stage = await open('/dev/stdout', writer);
  closeSync(writer);
  try {
    await checkStalled(stage, reader);
  } finally {
    await stage.close();
    closeSync(reader);
  }
});

test('W7: so is a pipe by its name; when its reader is gone, calls are refused and the process lives', async () => {
  const { path, reader } = makePipe('named');
  const stage = await open(path);
  try {
    await checkStalled(stage, reader);
    const next = await stage.restart();
    const { handle } = await stage.task();
    closeSync(reader);
    const { passed, refused } = await callUntilRefused({ ...stage, sidecar: next }, handle);
    expect([passed, refused.code]).toEqual([0, 'record_unavailable']);
    expect((await fetch(`http://${next.addresses.health}/livez`)).status).toBe(200);
    // To look into it would take lines from its reader.
    const config = join(stage.dir, 'waybill.yaml');
    const { code, stderr } = await runWaybill(['events', 'verify', '--config', config]);
    expect([code, stderr]).toEqual([64, expect.stringContaining('is no file')]);
  } finally {
    await stage.close();
  }
});

test('W1: a record that cannot be opened is told as what it is, before anything listens', async () => {
  const socket = join(dir, 'socket');
  const server = createServer().listen(socket);
  const unread = join(dir, 'unread');
  execFileSync('mkfifo', [unread]);
  try {
    for (const [file, why] of [
      [socket, 'is a socket'],
      [unread, 'is a pipe that nobody reads'],
      [dir, 'EISDIR'],
    ] as const) {
      const told = await open(file).catch((error: unknown) => String(error));
      expect(told).toContain('the sidecar ended with 64: ');
      expect(told).toContain(why);
      expect(told).toContain(file);
      expect(told).not.toContain('event-sink');
    }
  } finally {
    server.close();
  }
});
