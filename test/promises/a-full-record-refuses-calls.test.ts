import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { admittedPaths, checkChain, eventsOf, readRecord } from '../stage/event-record.ts';
import { startLoad, type LoadCall } from '../stage/load.ts';
import { basic, callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let crm: EchoTool;
let slow: ScriptedTool;
/** Ends the answer that the slow tool keeps open. */
let endSlow = (): void => undefined;

beforeAll(async () => {
  crm = await openEchoTool();
  slow = await openScriptedTool((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    endSlow = () => response.end('data: 2\n\n');
  });
});
afterAll(async () => {
  await crm.close();
  await slow.close();
});

const tools = () => ({ crm: { port: crm.port }, slow: { port: slow.port } });

/** Files of the process cannot grow beyond this: the same short write and error as of a full disk, without a disk of its own. */
function limitFiles(pid: number, bytes: number | undefined): void {
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${bytes ?? 'unlimited'}:`]);
}
const isLimitable = spawnSync('prlimit', ['--version']).status === 0;

/**
 * Calls while the record is full, and after it has space again. Whatever was promised of the record is checked.
 * @param mayFit Whether a shorter line than that of an admission may find room in the last block of the file: it was written then.
 */
async function checkFullRecord(stage: Stage, fill: () => void, empty: () => void, mayFit = false): Promise<void> {
  const { outbound, health } = stage.sidecar.addresses;
  const { handle } = await stage.task();
  const call = (url: string): Promise<RawAnswer> => callThrough(outbound, url, { handle });
  const ready = async (): Promise<number> => (await fetch(`http://${health}/readyz`)).status;
  slow.requests.length = 0;
  crm.seen.length = 0;
  const stream = call('http://slow.test/stream');
  await eventually('the stream runs', () => slow.requests.length > 0);

  fill();
  // A file system may have room left in its last block.
  let passed = 0;
  while ((await call(`http://crm.test/passed-${passed}`)).status === 200) passed += 1;
  let refused = 1;
  let readiness = 200;
  for (; refused < 4 || (readiness === 200 && refused < 20); refused += 1) {
    const answer = await call(`http://crm.test/refused-${refused}`);
    expect([answer.status, answer.code]).toEqual([503, 'record_unavailable']);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    readiness = await ready();
  }
  expect(readiness).toBe(503);
  const { socket } = stage.sidecar.addresses;
  const self = async () => (await callOperator(socket, 'GET', '/v1/sidecar')).body['missing'];
  expect(await self()).toEqual(['the record cannot be written']);
  const told = (what: string): number => stage.sidecar.output().split(`"msg":"the record ${what}`).length - 1;
  expect(told('cannot be written')).toBe(1);
  expect(told('is written again')).toBeLessThanOrEqual(mayFit ? 1 : 0);
  expect((await fetch(`http://${health}/livez`)).status).toBe(200);
  expect((await call('http://unlisted.test/')).code).toBe('destination_unlisted');
  endSlow();
  expect((await stream).body).toContain('data: 2');
  expect(crm.seen.map(({ path }) => path)).toEqual(Array.from({ length: passed }, (_, at) => `/passed-${at}`));

  empty();
  await eventually('the record is written again', () =>
    readRecord(stage.sidecar.eventsFile).some(({ event }) => event === 'call.refused'),
  );
  await sleep(300);
  expect((await call('http://crm.test/after')).status).toBe(200);
  expect(await ready()).toBe(200);
  expect([await self(), told('cannot be written'), told('is written again')]).toEqual([[], 1, 1]);
  expect(await stage.sidecar.metric('waybill_events_lost_total')).toBe(0);
  const series = 'waybill_refusals_total{way="out",stage="admit",code="record_unavailable"}';
  expect(await stage.sidecar.metric(series)).toBe(refused);
  await stage.sidecar.stop();
  const events = readRecord(stage.sidecar.eventsFile);
  expect((await checkChain(stage.sidecar.eventsFile)).outcomeUnknown).toBe(0);
  expect(eventsOf(events, '/stream').map(({ event }) => event)).toEqual(['call.admitted', 'call.ended']);
  expect(events.filter(({ code }) => code === 'destination_unlisted')).toHaveLength(1);
  expect(admittedPaths(events)).toEqual(new Set(['/stream', '/after', ...crm.seen.map(({ path }) => path)]));
}

test('W7: a record that cannot grow refuses calls, and nothing is lost when it can again', async (context) => {
  context.skip(!isLimitable, 'prlimit is missing');
  const stage = await openStage({ tools: tools() });
  const { pid, eventsFile } = stage.sidecar;
  try {
    await checkFullRecord(
      stage,
      () => limitFiles(pid, statSync(eventsFile).size + 100),
      () => limitFiles(pid, undefined),
    );
  } finally {
    await stage.close();
  }
});

/** A file system of 128 KiB; skips the test where it cannot be had. */
function mountSmallDisk(context: TestContext): { readonly disk: string; readonly unmount: () => void } {
  const disk = mkdtempSync(join(tmpdir(), 'waybill-disk-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'waybill-test', disk]);
  if (mounted.status !== 0) {
    rmSync(disk, { recursive: true });
    context.skip('mounting a small file system needs root');
  }
  const unmount = (): void => {
    spawnSync('umount', [disk]);
    rmSync(disk, { recursive: true });
  };
  return { disk, unmount };
}

test('W7: the same on a file system that is full', async (context) => {
  const { disk, unmount } = mountSmallDisk(context);
  const record = join(disk, 'events.jsonl');
  const ballast = join(disk, 'ballast');
  const stage = await openStage({ tools: tools(), sections: { record: { file: record } } });
  try {
    await checkFullRecord(
      { ...stage, sidecar: { ...stage.sidecar, eventsFile: record } },
      () => fillDisk(ballast),
      () => unlinkSync(ballast),
      true,
    );
  } finally {
    await stage.close();
    unmount();
  }
});

test('W7: a file that somebody truncated (copytruncate) gets no hole when the disk is full', async (context) => {
  const { disk, unmount } = mountSmallDisk(context);
  const record = join(disk, 'events.jsonl');
  const [copy, ballast] = [join(disk, 'copy'), join(disk, 'ballast')];
  const stage = await openStage({ tools: tools(), sections: { record: { file: record } } });
  try {
    const { handle } = await stage.task();
    const call = (): Promise<RawAnswer> =>
      callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/', { handle });
    for (let count = 0; count < 20; count += 1) expect((await call()).status).toBe(200);
    copyFileSync(record, copy);
    truncateSync(record);
    fillDisk(ballast);
    while ((await call()).status === 200);
    unlinkSync(ballast);
    await eventually('the record takes lines again', async () => (await call()).status === 200);
    await sleep(1100);
    await stage.sidecar.stop();
    expect(readFileSync(record, 'utf8')).not.toContain('\0');
    await checkChain(copy, record);
    expect(stage.sidecar.output()).toContain('made the record shorter');
  } finally {
    await stage.close();
    unmount();
  }
});

/** Takes every page that is left, so that the next line crosses into one that is not there. */
function fillDisk(file: string): void {
  for (const size of [65_536, 4096, 1]) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(size), { flag: 'a' });
    } catch {
      // Full for this size.
    }
  }
}

test('W7: under load, with a disk that fills up again and again, only recorded calls reach the tool', async (context) => {
  context.skip(!isLimitable, 'prlimit is missing');
  const stage = await openStage({ tools: tools() });
  const { pid, eventsFile, addresses } = stage.sidecar;
  try {
    crm.seen.length = 0;
    const headers = { 'proxy-authorization': basic((await stage.task()).handle) };
    let count = 0;
    const next = (): LoadCall => ({ origin: 'http://crm.test', path: `/${(count += 1)}`, headers });
    const load = startLoad(addresses.outbound, 32, next);
    for (let round = 0; round < 10; round += 1) {
      await sleep(100);
      limitFiles(pid, statSync(eventsFile).size + 5000 + round * 97);
      await sleep(60);
      limitFiles(pid, undefined);
    }
    await sleep(300);
    await load.stop();
    await stage.sidecar.stop();

    const admitted = admittedPaths(readRecord(eventsFile));
    const statuses = Map.groupBy(load.answers, ({ status }) => status);
    expect([...statuses.keys()].toSorted((a, b) => a - b)).toEqual([200, 503]);
    expect(statuses.get(503)?.every(({ body }) => body.includes('record_unavailable'))).toBe(true);
    const seen = new Set(crm.seen.map(({ path }) => path));
    expect([...seen].filter((path) => !admitted.has(path))).toEqual([]);
    expect(statuses.get(503)?.filter(({ path }) => seen.has(path))).toEqual([]);
    expect(statuses.get(200)?.filter(({ path }) => !seen.has(path))).toEqual([]);
    expect((await checkChain(eventsFile)).outcomeUnknown).toBe(0);
  } finally {
    await stage.close();
  }
});
