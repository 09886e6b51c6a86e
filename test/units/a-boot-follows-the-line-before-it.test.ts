import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Checkpoints } from '../../proxy/record/checkpoints.ts';
import { eventFields } from '../../proxy/record/event.ts';
import { EventLog } from '../../proxy/record/event-log.ts';
import { openFileSink } from '../../proxy/record/event-sink.ts';
import { verifyEvents } from '../../proxy/record/verify-events.ts';
import { realWorld } from '../../proxy/world.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-boots-'));
  file = join(folder, 'events.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

const sha256 = (line: string): string => createHash('sha256').update(line).digest('hex');
const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1);
const put = (path: string, ...boots: string[][]): void =>
  writeFileSync(
    path,
    boots
      .flat()
      .map((line) => `${line}\n`)
      .join(''),
  );

/** A sidecar that runs on this file until it is ended: by itself, or killed. */
function openBoot(path = file) {
  const sink = openFileSink(path);
  const log = new EventLog(sink, realWorld([]), () => undefined);
  const checkpoints = new Checkpoints(log, () => undefined, 60_000);
  log.append(eventFields('boot', { key: checkpoints.key, follows: sink.follows }));
  checkpoints.start();
  return {
    follows: sink.follows,
    call: (id: string) => {
      log.append(eventFields('call.ended', { id, attempt: 1 }));
      log.flush();
    },
    end: () => {
      checkpoints.close();
      log.close();
    },
  };
}

/** The lines of a boot with one call, from its beginning to its end. */
function writeBoot(path = file): string[] {
  const before = existsSync(path) ? linesOf(path).length : 0;
  const boot = openBoot(path);
  boot.call('c');
  boot.end();
  return linesOf(path).slice(before);
}

async function reasonsOf(...files: string[]): Promise<string[]> {
  return (await verifyEvents(files)).faults.map(({ reason }) => reason);
}

test('each boot names the line that stood before it; a new file has none', async () => {
  const [one, two, three] = [writeBoot(), writeBoot(), writeBoot()];
  const follows = [one, two, three].map(([line]) => (JSON.parse(line ?? '') as { follows?: string }).follows);
  expect(follows).toEqual([undefined, sha256(one.at(-1) ?? ''), sha256(two.at(-1) ?? '')]);
  expect(await reasonsOf(file)).toEqual([]);
});

test('a boot that was removed is missed, and so is the right order of those that are there', async () => {
  const [one, two, three] = [writeBoot(), writeBoot(), writeBoot()];
  for (const [reasons, ...boots] of [
    [[], one, two, three],
    [['missing'], one, three],
    [['missing'], one, three, two],
    [['order'], three, one, two],
    [['order'], two, one, three],
    [['order', 'missing'], three, two, one],
    // What came before the first line that is here can be in an earlier file.
    [[], two, three],
  ] as const) {
    put(file, ...boots.map((boot) => [...boot]));
    expect((await reasonsOf(file)).toSorted()).toEqual([...reasons].toSorted());
  }
});

test('a boot that lost lines at its end is missed by the next, though no gauge is known', async () => {
  const [one, two] = [writeBoot(), writeBoot()];
  put(file, one.slice(0, -1), two);
  expect(await reasonsOf(file)).toEqual(['missing']);
});

test('a torn line is no line: the boot behind it names the one before', async () => {
  const one = writeBoot();
  appendFileSync(file, '{"seq":1,"boot":"');
  const boot = openBoot();
  boot.end();
  expect(boot.follows).toBe(sha256(one.at(-1) ?? ''));
  expect(await verifyEvents([file])).toMatchObject({ faultCount: 0, torn: [{ line: one.length + 1 }] });
  const torn = join(folder, 'torn.jsonl');
  writeFileSync(torn, '{"seq":1,"bo');
  expect(openFileSink(torn).follows).toBeUndefined();
});

test('a last line is found however long it is, as far as lines are read', () => {
  for (const length of [1, 65_535, 65_536, 65_537, 1_000_000]) {
    const line = 'x'.repeat(length);
    writeFileSync(file, `before\n${line}\n${'y'.repeat(70_000)}`);
    expect(openFileSink(file).follows).toBe(sha256(line));
    writeFileSync(file, `${line}\n`);
    expect(openFileSink(file).follows).toBe(sha256(line));
  }
  writeFileSync(file, `${'x'.repeat(3_000_000)}\n`);
  expect(openFileSink(file).follows).toBeUndefined();
  writeFileSync(file, '');
  expect(openFileSink(file).follows).toBeUndefined();
});

test('boots follow each other over rotated files, and a file that was left out is missed', async () => {
  const names = ['1', '2', '3'].map((name) => join(folder, name));
  const boots = [writeBoot(), writeBoot(), writeBoot()];
  for (const [at, boot] of boots.entries()) put(names[at] ?? '', boot);
  const [first = '', second = '', third = ''] = names;
  expect(await reasonsOf(first, second, third)).toEqual([]);
  expect(await reasonsOf(first, third)).toEqual(['missing']);
  expect(await reasonsOf(second, third)).toEqual([]);
  writeFileSync(file, '');
  expect(await reasonsOf(first, second, third, file)).toEqual([]);
  // A sidecar that begins a file of its own follows nothing.
  put(file, writeBoot(join(folder, 'new')));
  expect(await reasonsOf(first, second, third, file)).toEqual([]);
});

test('two sidecars that begin at once on one file accuse nobody', async () => {
  writeBoot();
  const [one, other] = [openBoot(), openBoot()];
  for (let count = 0; count < 10; count += 1) {
    one.call(`a${count}`);
    other.call(`b${count}`);
  }
  other.end();
  one.end();
  expect(await reasonsOf(file)).toEqual([]);
});

test('a line behind the signed end of its boot was written by nobody of us', async () => {
  const one = writeBoot();
  const last = JSON.parse(one.at(-1) ?? '') as { seq: number; boot: string };
  const forged = { seq: last.seq + 1, boot: last.boot, prev: sha256(one.at(-1) ?? ''), at: new Date().toISOString() };
  put(file, [...one, JSON.stringify({ ...forged, event: 'call.admitted', id: 'x', attempt: 1 })]);
  const { faults } = await verifyEvents([file]);
  expect(faults).toMatchObject([{ line: one.length + 1, reason: 'end' }]);
});

test('a record without a line is none', async () => {
  writeFileSync(file, '');
  expect(await verifyEvents([file])).toMatchObject({ lines: 0, faults: [{ file, line: 0, reason: 'start' }] });
  expect(await reasonsOf(file, file)).toEqual(['start']);
});
