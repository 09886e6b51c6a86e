import { existsSync, mkdirSync, readFileSync, renameSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { runWaybill } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { admittedPaths, checkChain, readRecord } from '../stage/event-record.ts';
import { startLoad, type LoadCall } from '../stage/load.ts';
import { basic, callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let crm: EchoTool;
beforeAll(async () => {
  crm = await openEchoTool();
});
afterAll(() => crm.close());

const hangUp = ({ sidecar }: Stage): boolean => process.kill(sidecar.pid, 'SIGHUP');
const isWritten = (file: string): boolean => existsSync(file) && statSync(file).size > 0;

test('W7: a record that is rotated under load loses no line, refuses no call, and is whole over its files', async () => {
  const stage = await openStage({ tools: { crm: { port: crm.port } } });
  const { eventsFile, addresses } = stage.sidecar;
  const files = [1, 2, 3].map((number) => `${eventsFile}.${number}`);
  try {
    crm.seen.length = 0;
    const headers = { 'proxy-authorization': basic((await stage.task()).handle) };
    let count = 0;
    const next = (): LoadCall => ({ origin: 'http://crm.test', path: `/${(count += 1)}`, headers });
    const load = startLoad(addresses.outbound, 16, next);
    for (const [at, file] of files.entries()) {
      const before = load.answers.length;
      await eventually('calls pass', () => load.answers.length > before + 100, 20_000);
      renameSync(eventsFile, file);
      // As logrotate does with `create`, with `nocreate`, and without a word to the sidecar.
      if (at === 0) writeFileSync(eventsFile, '', { mode: 0o600 });
      if (at < 2) hangUp(stage);
      await eventually('the record goes on in a new file', () => isWritten(eventsFile), 5000);
    }
    await sleep(200);
    await load.stop();
    await stage.sidecar.stop();

    const all = [...files, eventsFile];
    expect(load.answers.filter(({ status }) => status !== 200)).toEqual([]);
    const events = all.flatMap((file) => readRecord(file));
    const seen = new Set(crm.seen.map(({ path }) => path));
    expect(seen.size).toBe(load.answers.length);
    expect(admittedPaths(events)).toEqual(seen);
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, at) => at + 1));
    for (const file of all) {
      expect(readFileSync(file, 'utf8').endsWith('}\n'), file).toBe(true);
      expect(statSync(file).mode & 0o777, file).toBe(0o600);
    }
    const { code, stdout } = await runWaybill(['events', 'verify', ...all, '--json']);
    expect([code, JSON.parse(stdout)]).toMatchObject([0, { ok: true, torn: [], outcome_unknown: 0 }]);
  } finally {
    await stage.close();
  }
}, 60_000);

test('W7: while the new file cannot be opened, the record goes on in the one it has, and calls pass', async () => {
  const stage = await openStage({ tools: { crm: { port: crm.port } } });
  const { sidecar } = stage;
  const { eventsFile } = sidecar;
  const first = `${eventsFile}.1`;
  const failed = 'waybill_record_reopens_total{outcome="failed"}';
  const reopened = 'waybill_record_reopens_total{outcome="reopened"}';
  try {
    const { handle } = await stage.task();
    const call = async (path: string): Promise<number> =>
      (await callThrough(sidecar.addresses.outbound, `http://crm.test${path}`, { handle })).status;
    expect(await sidecar.metric(failed)).toBe(0);
    renameSync(eventsFile, first);
    mkdirSync(eventsFile);
    hangUp(stage);
    await eventually('it is said', () => sidecar.output().includes('cannot be opened anew'));
    expect(sidecar.output()).toContain('EISDIR');
    expect(await call('/meanwhile')).toBe(200);
    expect(admittedPaths(readRecord(first))).toEqual(new Set(['/meanwhile']));
    expect(await sidecar.metric(failed)).toBeGreaterThan(0);
    expect((await fetch(`http://${sidecar.addresses.health}/readyz`)).status).toBe(200);
    // Said once, and not with each of the looks that follow.
    await sleep(2200);
    expect(sidecar.output().split('cannot be opened anew')).toHaveLength(2);

    rmdirSync(eventsFile);
    await eventually('it is tried again without a word', () => existsSync(eventsFile), 5000);
    expect(await call('/after')).toBe(200);
    expect(await sidecar.metric(reopened)).toBe(1);
    // A hang-up without a rotation changes nothing.
    hangUp(stage);
    await eventually('it is heard', () => sidecar.output().includes('the configuration is unchanged'));
    expect(await call('/after-all')).toBe(200);
    expect(await sidecar.metric(reopened)).toBe(1);
    await sidecar.stop();
    expect(admittedPaths(readRecord(eventsFile))).toEqual(new Set(['/after', '/after-all']));
    await checkChain(first, eventsFile);
  } finally {
    await stage.close();
  }
}, 30_000);
