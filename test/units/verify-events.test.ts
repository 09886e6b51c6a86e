import { createHash } from 'node:crypto';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventFields } from '../../proxy/record/event.ts';
import { EventLog } from '../../proxy/record/event-log.ts';
import { openFileSink } from '../../proxy/record/event-sink.ts';
import { verifyEvents, type RecordReport } from '../../proxy/record/verify-events.ts';
import { realWorld } from '../../proxy/world.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-verify-'));
  file = join(folder, 'events.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Appends a boot with this many calls, through the sidecar's own record; the last `unfinished` calls have no end. */
function writeBoot(calls: number, unfinished = 0): void {
  const log = new EventLog(openFileSink(file), realWorld([]), () => undefined);
  log.append(eventFields('boot', { version: '0.0.0' }));
  for (let at = 1; at <= calls; at++) {
    log.append(eventFields('call.admitted', { id: `c${at}`, attempt: 1, note: 'ünïcode ✔' }));
    if (at <= calls - unfinished) log.append(eventFields('call.ended', { id: `c${at}`, attempt: 1, status: 200 }));
  }
  log.close();
}

const lines = (): string[] => readFileSync(file, 'utf8').split('\n').slice(0, -1);
const rewrite = (next: readonly string[]): void => writeFileSync(file, next.map((line) => `${line}\n`).join(''));
const sha256 = (line: string): string => createHash('sha256').update(line).digest('hex');
const faultsOf = ({ faults }: RecordReport): [number, string][] => faults.map(({ line, reason }) => [line, reason]);
const verify = async (): Promise<RecordReport> => verifyEvents([file]);

/** The lines from `from` on with sequence and hashes made anew, as somebody with write access can. */
function rechained(
  all: readonly string[],
  from: number,
  start: { seq: number; prev: string; boot?: string },
): string[] {
  let { seq, prev } = start;
  return all.map((line, at) => {
    if (at < from) return line;
    const event = JSON.parse(line) as Record<string, unknown>;
    const made = JSON.stringify({ ...event, seq, prev, ...(start.boot === undefined ? {} : { boot: start.boot }) });
    seq += 1;
    prev = sha256(made);
    return made;
  });
}

test('the record of several boots is whole, and calls without an end are counted', async () => {
  writeBoot(20);
  writeBoot(5, 2);
  writeBoot(0);
  const report = await verify();
  expect(faultsOf(report)).toEqual([]);
  expect(report).toMatchObject({ lines: 41 + 9 + 1, faultCount: 0, torn: [], outcomeUnknown: 2 });
  expect(report.boots.map(({ lastSequence, lines: count }) => [lastSequence, count])).toEqual([
    [41, 41],
    [9, 9],
    [1, 1],
  ]);
  expect(report.boots.at(-1)?.head).toBe(sha256(lines().at(-1) ?? ''));
});

test('an edited line is found, with its number', async () => {
  writeBoot(10);
  rewrite(lines().map((line, at) => (at === 6 ? line.replace('"id":"c3"', '"id":"c4"') : line)));
  const report = await verify();
  expect(faultsOf(report)).toEqual([[7, 'changed']]);
  expect(report.faults[0]?.message).toContain('line 8');
});

test('a change of one byte within a text is found', async () => {
  writeBoot(3);
  rewrite(lines().map((line, at) => (at === 1 ? line.replace('ünï', 'üni') : line)));
  expect(faultsOf(await verify())).toEqual([[2, 'changed']]);
});

test('removed lines are found where they are missing', async () => {
  writeBoot(10);
  rewrite(lines().filter((_line, at) => at !== 4 && at !== 5));
  const report = await verify();
  expect(faultsOf(report)).toEqual([[5, 'missing']]);
  expect(report.faults[0]?.message).toContain('2 lines are missing');
});

test('lines that changed places are found', async () => {
  writeBoot(10);
  const all = lines();
  rewrite([...all.slice(0, 4), all[5]!, all[4]!, ...all.slice(6)]);
  expect(faultsOf(await verify())).toEqual([
    [5, 'missing'],
    [6, 'order'],
    [7, 'missing'],
  ]);
});

test('a repeated line is found', async () => {
  writeBoot(3);
  rewrite([...lines(), lines()[2]!]);
  expect(faultsOf(await verify())).toEqual([[8, 'order']]);
});

test('a chain that was made anew from the middle is found, under its own and under another boot', async () => {
  writeBoot(10);
  const all = lines();
  const genesis = '0'.repeat(64);
  rewrite(rechained(all, 9, { seq: 1, prev: genesis }));
  expect(faultsOf(await verify())).toEqual([[10, 'order']]);
  rewrite(rechained(all, 9, { seq: 10, prev: genesis }));
  expect(faultsOf(await verify())).toEqual([[9, 'changed']]);
  rewrite(rechained(all, 9, { seq: 1, prev: genesis, boot: 'AAAAAAAAAAAAAAAA' }));
  expect(faultsOf(await verify())).toEqual([[10, 'start']]);
});

test('a record whose beginning is missing is found', async () => {
  writeBoot(3);
  const all = lines();
  rewrite(all.slice(2));
  expect(faultsOf(await verify())).toEqual([[1, 'start']]);
  rewrite(rechained(all, 0, { seq: 1, prev: sha256('a line that is gone') }));
  expect(faultsOf(await verify())).toEqual([[1, 'start']]);
  rewrite(rechained(all, 0, { seq: 2, prev: '0'.repeat(64) }));
  expect(faultsOf(await verify())).toEqual([[1, 'start']]);
});

test('a last line that a killed process left unfinished is torn, and no error', async () => {
  writeBoot(3, 1);
  const whole = readFileSync(file);
  const last = whole.lastIndexOf(0x0a, whole.length - 2) + 1;
  for (const kept of [1, 12, 40, 150]) {
    writeFileSync(file, whole.subarray(0, last + kept));
    expect(await verify()).toMatchObject({ faultCount: 0, torn: [{ file, line: 6 }], outcomeUnknown: 0 });
  }
});

test('a torn line that the next boot closed is no error; so is one of a boot that got no further', async () => {
  writeBoot(3);
  writeFileSync(file, readFileSync(file).subarray(0, -20));
  writeBoot(2);
  appendFileSync(file, '{"seq":1,"boot":"abc');
  writeBoot(1);
  expect(await verify()).toMatchObject({
    faultCount: 0,
    torn: [
      { file, line: 7 },
      { file, line: 13 },
    ],
  });
});

test('a fragment within a boot is no error where the same line follows whole, as after a full disk', async () => {
  writeBoot(3);
  const all = lines();
  rewrite([...all.slice(0, 4), all[4]!.slice(0, 90), ...all.slice(4)]);
  expect(await verify()).toMatchObject({ faultCount: 0, torn: [{ file, line: 5 }] });
  // Where it does not follow, it was a line.
  rewrite([...all.slice(0, 4), all[4]!.slice(0, 90), ...all.slice(5)]);
  expect(faultsOf(await verify())).toEqual([
    [5, 'unreadable'],
    [6, 'missing'],
  ]);
});

test('a broken line is an error where no write can have broken off', async () => {
  writeBoot(3);
  const all = lines();
  rewrite([...all.slice(0, -1), all.at(-1)!.slice(0, -1)]);
  expect(faultsOf(await verify())).toEqual([[7, 'unreadable']]);
  rewrite([...all, 'garbage']);
  writeBoot(1);
  expect(faultsOf(await verify())).toEqual([[8, 'unreadable']]);
  rewrite([...all.slice(0, 3), '', ...all.slice(3)]);
  expect(faultsOf(await verify())).toEqual([[4, 'unreadable']]);
  for (const wrong of ['{"seq":"4"}', all[0]!.replace(/"boot":"[^"]*"/, '"boot":"\\u001b[2J"')]) {
    rewrite([...all.slice(0, 3), wrong, ...all.slice(3)]);
    expect(faultsOf(await verify())).toEqual([[4, 'unreadable']]);
  }
});

test('garbage without a line feed at the end is not taken for a torn line', async () => {
  writeBoot(1);
  appendFileSync(file, '{"seq":9,"boot":"nobody');
  expect(faultsOf(await verify())).toEqual([[4, 'unreadable']]);
});

test('a chain goes on in the next file, and each line is named by its file', async () => {
  writeBoot(10);
  const all = lines();
  const next = join(folder, 'events.2.jsonl');
  rewrite(all.slice(0, 8));
  writeFileSync(next, `${all.slice(8).join('\n')}\n`);
  expect(await verifyEvents([file, next])).toMatchObject({ faultCount: 0, lines: 21 });
  writeFileSync(next, `${all.slice(9).join('\n')}\n`);
  expect((await verifyEvents([file, next])).faults).toMatchObject([{ file: next, line: 1, reason: 'missing' }]);
});

test('many lines are read as a stream, across the borders of its pieces', async () => {
  writeBoot(20_000);
  const report = await verify();
  expect(report).toMatchObject({ lines: 40_001, faultCount: 0, outcomeUnknown: 0 });
});

test('a "line" of many megabytes is not kept, and is an error', async () => {
  writeBoot(1);
  const event = { seq: 4, boot: 'a', prev: sha256(lines()[2]!), event: 'call.ended', note: 'x'.repeat(8_000_000) };
  appendFileSync(file, `${JSON.stringify(event)}\n`);
  expect(faultsOf(await verify())).toEqual([[4, 'unreadable']]);
});

test('of many faults all are counted and the first are told', async () => {
  writeBoot(200);
  rewrite(lines().map((line) => line.replace('"attempt":1', '"attempt":2')));
  const report = await verify();
  expect(report.faultCount).toBe(399);
  expect(report.faults).toHaveLength(100);
});
