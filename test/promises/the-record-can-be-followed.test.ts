import { mkdtempSync, readdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { startLoad } from '../stage/load.ts';
import { basic, callThrough } from '../stage/raw-call.ts';
import { followRecord, type Follower } from '../stage/record-follower.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage, type StageOptions } from '../stage/way-out-stage.ts';

let crm: EchoTool;
let stage: Stage;
let authorization: string;
const followers: Follower[] = [];

beforeEach(async () => {
  crm = await openEchoTool();
});
afterEach(async () => {
  for (const follower of followers.splice(0)) follower.leave();
  await stage?.close();
  await crm.close();
});

async function begin(options: Partial<StageOptions> = {}): Promise<void> {
  stage = await openStage({ tools: { crm: { port: crm.port } }, ...options });
  authorization = basic((await stage.task()).handle);
}

async function follow(query = ''): Promise<Follower> {
  const follower = await followRecord(stage.sidecar.addresses.socket, query);
  followers.push(follower);
  return follower;
}

const call = (path: string) =>
  callThrough(stage.sidecar.addresses.outbound, `http://crm.test${path}`, {
    headers: { 'Proxy-Authorization': authorization },
  });
const recorded = (): string => readFileSync(stage.sidecar.eventsFile, 'utf8');
const sequences = (text: string): number[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => (JSON.parse(line) as { seq: number }).seq);

test('what stands in the record comes as it stands there, and then what is written, line for line', async () => {
  await begin();
  await call('/first');
  const all = await follow();
  expect(all.response.statusCode).toBe(200);
  expect(all.response.headers['content-type']).toBe('application/x-ndjson');
  await eventually('the first call', () => all.text().includes('/first'));
  const newest = sequences(recorded()).at(-1) ?? 0;
  const late = await follow(`?after=${newest}`);
  await call('/second');
  await eventually('the second call', () => late.text().includes('/second') && late.text().includes('call.ended'));
  await eventually('all of it', () => all.text() === recorded());
  // The two readers look at different moments.
  await eventually('the rest of it', () => recorded().endsWith(late.text()));
  expect(sequences(late.text())[0]).toBe(newest + 1);
});

test('lines of earlier boots are theirs: after a restart it begins with the first of the new one', async () => {
  await begin();
  await call('/before');
  await stage.sidecar.kill();
  const before = recorded();
  await stage.restart();
  authorization = basic((await stage.task()).handle);
  await call('/now');
  // Of a sequence number that this boot has not reached, the follower was told by the boot before.
  for (const query of ['', '?after=0', '?after=1000000']) {
    const follower = await follow(query);
    await eventually(`all of this boot ${query}`, () => before + follower.text() === recorded());
  }
});

test('a record that is rotated under load is followed without a gap', async () => {
  await begin();
  const { eventsFile, addresses, pid } = stage.sidecar;
  const follower = await follow();
  let count = 0;
  const next = () => ({
    origin: 'http://crm.test',
    path: `/${(count += 1)}`,
    headers: { 'proxy-authorization': authorization },
  });
  const load = startLoad(addresses.outbound, 8, next);
  for (const at of [1, 2, 3]) {
    const before = load.answers.length;
    await eventually('calls pass', () => load.answers.length > before + 100, 20_000);
    renameSync(eventsFile, `${eventsFile}.${at}`);
    // As logrotate does with `create`, and with `nocreate`: the sidecar goes on in the one that was moved away until it hears of it.
    if (at < 3) writeFileSync(eventsFile, '', { mode: 0o600 });
    await sleep(500);
    process.kill(pid, 'SIGHUP');
    await sleep(700);
  }
  await load.stop();
  await sleep(100);
  const whole = [1, 2, 3].map((at) => readFileSync(`${eventsFile}.${at}`, 'utf8')).join('') + recorded();
  await eventually('the last line', () => follower.text().length >= whole.length);
  expect(follower.text() === whole).toBe(true);
  const told = sequences(follower.text());
  expect(told).toEqual(told.map((_seq, at) => at + 1));
}, 60_000);

test('who reads slowly holds nothing up, and gets it all', async () => {
  await begin();
  const follower = await follow();
  follower.response.pause();
  let count = 0;
  const path = `/${'x'.repeat(4000)}`;
  const next = () => ({
    origin: 'http://crm.test',
    path: `${path}${(count += 1)}`,
    headers: { 'proxy-authorization': authorization },
  });
  const load = startLoad(stage.sidecar.addresses.outbound, 8, next);
  await eventually('much is written', () => load.answers.length > 1500, 30_000);
  await load.stop();
  expect(load.answers.filter(({ status }) => status !== 200)).toEqual([]);
  expect(follower.text().length).toBeLessThan(recorded().length / 2);
  follower.response.resume();
  await eventually('all of it', () => follower.text() === recorded(), 20_000);
}, 60_000);

test('a bounded number may follow; who leaves makes room, and leaves no file open', async () => {
  await begin();
  const open = (): number =>
    readdirSync(`/proc/${stage.sidecar.pid}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${stage.sidecar.pid}/fd/${fd}`) === stage.sidecar.eventsFile;
      } catch {
        return false;
      }
    }).length;
  const crowd: Follower[] = [];
  for (let at = 0; at < 16; at += 1) crowd.push(await follow());
  expect(crowd.map(({ response }) => response.statusCode)).toEqual(crowd.map(() => 200));
  const tooMany = await follow();
  await tooMany.ended;
  expect([tooMany.response.statusCode, JSON.parse(tooMany.text())]).toMatchObject([
    429,
    { code: 'too_many_followers' },
  ]);
  for (const follower of crowd) follower.leave();
  await eventually('they are gone', () => open() === 1);
  expect((await follow()).response.statusCode).toBe(200);
});

test('the end of the sidecar is the end of the stream', async () => {
  await begin();
  const follower = await follow();
  await eventually('it is told', () => follower.text() === recorded());
  await stage.sidecar.stop();
  await follower.ended;
  expect(recorded().startsWith(follower.text())).toBe(true);
});

test('what is no sequence number is refused, and so is a record that is no file', async () => {
  await begin();
  const { socket } = stage.sidecar.addresses;
  for (const after of [
    'x',
    ':1',
    'boot:',
    'b:1:2',
    'b%20b:1',
    '-1',
    '1.5',
    '',
    '1e3',
    '99999999999999999',
    '1&after=2',
  ]) {
    const { status, body } = await callOperator(socket, 'GET', `/v1/events?after=${after}`);
    expect([after, status, body['code']]).toEqual([after, 400, 'request_invalid']);
  }
  expect((await callOperator(socket, 'POST', '/v1/events')).status).toBe(405);
  await stage.close();
  const dir = mkdtempSync(join(tmpdir(), 'waybill-stdout-'));
  stage = await openStage({ dir, tools: { crm: { port: crm.port } }, sections: { record: { stdout: true } } });
  const { status, body } = await callOperator(stage.sidecar.addresses.socket, 'GET', '/v1/events');
  expect([status, body['code'], body['detail']]).toEqual([404, 'not_found', expect.stringContaining('record.file')]);
});
