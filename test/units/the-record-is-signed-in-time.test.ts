import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Checkpoints, checkpointEveryMs } from '../../proxy/record/checkpoints.ts';
import { eventFields } from '../../proxy/record/event.ts';
import { EventLog } from '../../proxy/record/event-log.ts';
import { openFileSink } from '../../proxy/record/event-sink.ts';
import { verifyEvents } from '../../proxy/record/verify-events.ts';
import { realWorld } from '../../proxy/world.ts';

/** Writes a boot that lives for a while in a time of its own, one line a second of it; signed every `everyMs` of real time. */
async function live(seconds: number, everyMs: number, pauseAfter = Infinity): Promise<string> {
  const file = join(mkdtempSync(join(tmpdir(), 'waybill-signed-')), 'events.jsonl');
  let nowMs = Date.now();
  const log = new EventLog(openFileSink(file), { ...realWorld([]), now: () => nowMs }, () => undefined);
  const checkpoints = new Checkpoints(log, () => undefined, everyMs);
  log.append(eventFields('boot', { key: checkpoints.key }));
  checkpoints.start();
  for (let second = 0; second < seconds; second++) {
    nowMs += second === pauseAfter ? 3_600_000 : 1000;
    log.append(eventFields('call.ended', { id: `c${second}`, attempt: 1 }));
    if (second % 20 === 0) await sleep(everyMs < 1000 ? everyMs * 2 : 1);
  }
  log.flush();
  if (everyMs < 1000) checkpoints.close();
  log.close();
  return file;
}

async function faultsOf(file: string): Promise<string[]> {
  const { faults } = await verifyEvents([file]);
  rmSync(join(file, '..'), { recursive: true });
  return faults.map(({ reason }) => reason);
}

test('a checkpoint comes every minute, right behind the line that it is about', async () => {
  expect(checkpointEveryMs).toBe(60_000);
  const file = await live(200, 20);
  const events = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const found = events.filter(({ event }) => event === 'checkpoint');
  expect(found.length).toBeGreaterThan(8);
  for (const event of found)
    expect([event['sequence'], event['head']]).toEqual([Number(event['seq']) - 1, event['prev']]);
  expect(found.map(({ cause }) => cause)).toEqual(['start', ...found.slice(2).map(() => 'interval'), 'exit']);
  expect(await faultsOf(file)).toEqual([]);
});

test('minutes without a checkpoint are found; a machine that slept is not accused', async () => {
  expect(await faultsOf(await live(200, 3_600_000))).toEqual(['unsigned']);
  expect(await faultsOf(await live(80, 3_600_000, 40))).toEqual([]);
});

/** A record that takes nothing for minutes of its own time, while calls are refused: as it stands when it takes lines again, and at its end. */
async function outlast(minutes: number): Promise<{ readonly atOnce: string; readonly atEnd: string }> {
  const file = join(mkdtempSync(join(tmpdir(), 'waybill-full-')), 'events.jsonl');
  let nowMs = Date.now();
  let isFull = false;
  const sink = openFileSink(file);
  const disk = { ...sink, write: (lines: Buffer) => (isFull ? { bytes: 0, isWhole: false } : sink.write(lines)) };
  const log = new EventLog(disk, { ...realWorld([]), now: () => nowMs }, () => undefined);
  const checkpoints = new Checkpoints(log, () => undefined, 20);
  log.append(eventFields('boot', { key: checkpoints.key }));
  checkpoints.start();
  log.append(eventFields('call.ended', { id: 'before', attempt: 1 }));
  log.flush();
  isFull = true;
  for (let second = 0; second < minutes * 60; second += 5) {
    nowMs += 5000;
    log.append(eventFields('call.refused', { id: `c${second}` }));
    if (second % 60 === 0) await sleep(25);
  }
  isFull = false;
  const admitted = log.appendOrRefuse(eventFields('call.admitted', { id: 'after', attempt: 1 }));
  await admitted;
  // Killed at once: no time for the next checkpoint.
  const atOnce = join(mkdtempSync(join(tmpdir(), 'waybill-killed-')), 'events.jsonl');
  copyFileSync(file, atOnce);
  await sleep(50);
  checkpoints.close();
  log.close();
  return { atOnce, atEnd: file };
}

test('minutes in which the record took nothing are no fault of it: it is signed as soon as it takes lines again', async () => {
  const { atOnce, atEnd } = await outlast(6);
  const read = (file: string) => readFileSync(file, 'utf8').trimEnd().split('\n');
  expect(read(atOnce).filter((line) => line.includes('call.refused'))).toHaveLength(72);
  expect(read(atOnce).at(-1)).toContain('"event":"checkpoint"');
  expect([await faultsOf(atOnce), await faultsOf(atEnd)]).toEqual([[], []]);
});
