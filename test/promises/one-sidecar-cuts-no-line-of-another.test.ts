import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { admittedPaths, checkChain, readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let crm: EchoTool;
let service: FakeTokenService;
let folder: string;

beforeAll(async () => {
  crm = await openEchoTool();
  service = await openFakeTokenService({ secret: 'stage-client-secret-0123456789abcdef' });
  folder = mkdtempSync(join(tmpdir(), 'waybill-shared-record-'));
});
afterAll(async () => {
  await service.close();
  await crm.close();
  rmSync(folder, { recursive: true });
});

/** Files of the process cannot grow beyond this, as on a full disk. */
function limitFiles({ sidecar }: Stage, bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(sidecar.pid), `--fsize=${bytes}:`]);
}

/** Two sidecars that write to one record file, and how calls go through each. */
async function openTwo(name: string) {
  const file = join(folder, name);
  const open = (): Promise<Stage> =>
    openStage({ shares: service, tools: { crm: { port: crm.port } }, sections: { record: { file } } });
  const [full, other] = [await open(), await open()];
  const handles = new Map([
    [full, (await full.task('alice')).handle],
    [other, (await other.task('bob')).handle],
  ]);
  const call = async (stage: Stage, path: string) =>
    callThrough(stage.sidecar.addresses.outbound, `http://crm.test${path}`, { handle: handles.get(stage) ?? '' });
  const isWritable = async () => (await fetch(`http://${full.sidecar.addresses.health}/readyz`)).status === 200;
  return {
    file,
    full,
    other,
    call,
    heal: async () => {
      limitFiles(full, 'unlimited');
      await eventually('the record takes lines again', isWritable);
    },
    stop: async () => {
      await full.sidecar.stop();
      await other.sidecar.stop();
    },
    close: async () => {
      await full.close();
      await other.close();
    },
  };
}

test('W7: of two sidecars on one record file, one with a full disk takes back nothing of the other', async (context) => {
  context.skip(spawnSync('prlimit', ['--version']).status !== 0, 'prlimit is missing');
  const { file, full, other, call, heal, stop, close } = await openTwo('events.jsonl');
  try {
    const paths = ['/1', '/2', '/3'];
    for (const path of paths) expect((await call(other, path)).status).toBe(200);
    await sleep(100);
    const before = readFileSync(file, 'utf8');

    limitFiles(full, statSync(file).size + 100);
    for (let count = 0; count < 3; count += 1) expect((await call(full, '/refused')).code).toBe('record_unavailable');
    expect(readFileSync(file, 'utf8').startsWith(before)).toBe(true);

    await heal();
    for (const [stage, path] of [
      [full, '/4'],
      [other, '/5'],
    ] as const)
      expect((await call(stage, path)).status).toBe(200);
    await stop();
    expect(admittedPaths(readRecord(file))).toEqual(new Set([...paths, '/4', '/5']));
    expect((await checkChain(file)).outcomeUnknown).toBe(0);
    expect(full.sidecar.output() + other.sidecar.output()).not.toContain('made the record shorter');
  } finally {
    await close();
  }
});

test('W7: and glues no line to the fragment that the other has left', async (context) => {
  context.skip(spawnSync('prlimit', ['--version']).status !== 0, 'prlimit is missing');
  const { file, full, other, call, heal, stop, close } = await openTwo('fragments.jsonl');
  try {
    const paths: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      expect((await call(other, `/${round}/before`)).status).toBe(200);
      await sleep(100);
      // A little room: a part of the line is taken.
      limitFiles(full, statSync(file).size + 100);
      expect((await call(full, '/refused')).code).toBe('record_unavailable');
      expect(readFileSync(file, 'utf8').endsWith('\n')).toBe(false);
      // The disk of the other has room.
      expect((await call(other, `/${round}/behind`)).status).toBe(200);
      await heal();
      expect((await call(full, `/${round}/healed`)).status).toBe(200);
      paths.push(...['before', 'behind', 'healed'].map((when) => `/${round}/${when}`));
    }
    await stop();
    expect(admittedPaths(readRecord(file))).toEqual(new Set(paths));
    expect((await checkChain(file)).outcomeUnknown).toBe(0);
    expect(readFileSync(file, 'utf8')).not.toContain('\n\n');
  } finally {
    await close();
  }
});
