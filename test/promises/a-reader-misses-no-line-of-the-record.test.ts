import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { followRecord, type Follower } from '../stage/record-follower.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let crm: EchoTool;
let stage: Stage;
const followers: Follower[] = [];

beforeEach(async () => {
  crm = await openEchoTool();
  stage = await openStage({ tools: { crm: { port: crm.port, token: false } } });
});
afterEach(async () => {
  for (const follower of followers.splice(0)) follower.leave();
  await stage.close();
  await crm.close();
});

interface Told {
  readonly seq: number;
  readonly boot: string;
  readonly event: string;
}

async function follow(query = ''): Promise<Follower & { told(): Told[] }> {
  const follower = await followRecord(stage.sidecar.addresses.socket, query);
  followers.push(follower);
  const told = () =>
    follower
      .text()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Told);
  return { ...follower, told };
}

async function call(count = 1, path = '/'): Promise<void> {
  for (let at = 0; at < count; at += 10) {
    const some = Array.from({ length: Math.min(10, count - at) }, () =>
      callThrough(stage.sidecar.addresses.outbound, `http://crm.test${path}`, {}),
    );
    await Promise.all(some);
  }
  // An end is written a moment later.
  await sleep(60);
}

/** As logrotate does: `.1` becomes `.2`, and the record `.1`. */
async function rotate(count: number): Promise<void> {
  const { sidecar } = stage;
  const { eventsFile, pid } = sidecar;
  const reopened = async () => sidecar.metric('waybill_record_reopens_total{outcome="reopened"}');
  const before = await reopened();
  for (let at = count; at > 1; at -= 1) renameSync(`${eventsFile}.${at - 1}`, `${eventsFile}.${at}`);
  renameSync(eventsFile, `${eventsFile}.1`);
  process.kill(pid, 'SIGHUP');
  await eventually('the record goes on in a new file', async () => (await reopened()) === (before ?? 0) + 1);
}

const rotated = (count: number): string[] =>
  Array.from({ length: count }, (_, at) => `${stage.sidecar.eventsFile}.${count - at}`);
const textOf = (files: readonly string[]): string => files.map((file) => readFileSync(file, 'utf8')).join('');
/** The whole record of one boot, over `count` files that were moved away. */
const recorded = (count: number): string => textOf([...rotated(count), stage.sidecar.eventsFile]);

test('a reader that stalls while the record is rotated three times gets every line once, in order', async () => {
  const follower = await follow();
  await call();
  await eventually('it keeps up', () => follower.text() === recorded(0));
  follower.response.pause();
  // More than what fits between the two.
  await call(600, `/${'x'.repeat(1500)}`);
  for (const count of [1, 2, 3]) {
    await rotate(count);
    await call(10);
  }
  expect(follower.text().length).toBeLessThan(recorded(3).length / 2);
  follower.response.resume();
  await eventually('all of it', () => follower.text() === recorded(3), 10_000);
}, 60_000);

test('a reader that keeps up does as well, and so does one that comes later and knows an earlier line', async () => {
  const follower = await follow();
  await call();
  await eventually('it keeps up', () => follower.text() === recorded(0));
  const known = follower.told().at(-1)!;
  for (const count of [1, 2]) {
    await rotate(count);
    await call(2);
  }
  const whole = recorded(2);
  await eventually('all of it', () => follower.text() === whole);
  const all = await follow();
  await eventually('all of it, from the first file on', () => all.text() === whole);
  for (const query of [`?after=${known.seq}`, `?after=${known.boot}:${known.seq}`]) {
    const late = await follow(query);
    await eventually(query, () => late.text().length > 0 && whole.endsWith(late.text()));
    await eventually(query, () => late.told()[0]?.seq === known.seq + 1);
  }
  const newest = follower.told().at(-1)!;
  const next = await follow(`?after=${newest.boot}:${newest.seq}`);
  await call();
  await eventually('what is new', () => next.told()[0]?.seq === newest.seq + 1);
}, 60_000);

test.each(['removed', 'moved to another folder'])(
  'of files that were %s before they could be read, the numbers that are not told are',
  async (what) => {
    const { eventsFile } = stage.sidecar;
    const follower = await follow();
    await call();
    await eventually('it keeps up', () => follower.text() === recorded(0));
    follower.response.pause();
    await call(600, `/${'x'.repeat(1500)}`);
    await rotate(1);
    const first = textOf(rotated(1));
    await call(10);
    await rotate(2);
    const lost = textOf([`${eventsFile}.1`])
      .trimEnd()
      .split('\n');
    if (what === 'removed') rmSync(`${eventsFile}.1`);
    else {
      mkdirSync(`${eventsFile}.old`);
      renameSync(`${eventsFile}.1`, `${eventsFile}.old/1`);
    }
    await call(10);
    follower.response.resume();
    const seqs = lost.map((line) => (JSON.parse(line) as Told).seq);
    const { boot } = follower.told()[0]!;
    const gap = { event: 'lines.untold', boot, after: seqs[0]! - 1, before: seqs.at(-1)! + 1 };
    const wanted = () => `${first}${JSON.stringify(gap)}\n${textOf([eventsFile])}`;
    await eventually('the rest, and what is missing', () => follower.text() === wanted(), 10_000);
    const late = await follow(`?after=${gap.after}`);
    await eventually('the same to who comes later', () => late.text() !== '' && wanted().endsWith(late.text()));
    expect(late.told()[0]).toEqual(gap);
  },
  60_000,
);

test('who names boot and number gets all lines of a new boot, also where that has passed the number', async () => {
  await call();
  const last = stage.sidecar.events().at(-1) as unknown as Told;
  await stage.sidecar.stop();
  const before = readFileSync(stage.sidecar.eventsFile, 'utf8');
  await stage.restart();
  await call(10);
  expect(stage.sidecar.events().at(-1)!['seq']).toBeGreaterThan(last.seq);
  const follower = await follow(`?after=${last.boot}:${last.seq}`);
  const wanted = () => readFileSync(stage.sidecar.eventsFile, 'utf8').slice(before.length);
  // What the boot before wrote since then is not told, and that is.
  const gap = `${JSON.stringify({ event: 'lines.untold', boot: last.boot, after: last.seq })}\n`;
  await eventually('all of this boot', () => follower.text() === gap + wanted());
});
