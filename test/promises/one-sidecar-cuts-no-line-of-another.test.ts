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

test('W7: of two sidecars on one record file, one with a full disk takes back nothing of the other', async (context) => {
  context.skip(spawnSync('prlimit', ['--version']).status !== 0, 'prlimit is missing');
  const file = join(folder, 'events.jsonl');
  const open = (): Promise<Stage> =>
    openStage({ shares: service, tools: { crm: { port: crm.port } }, sections: { record: { file } } });
  const [full, other] = [await open(), await open()];
  try {
    const handles = new Map([
      [full, (await full.task('alice')).handle],
      [other, (await other.task('bob')).handle],
    ]);
    const call = async (stage: Stage, path: string) =>
      callThrough(stage.sidecar.addresses.outbound, `http://crm.test${path}`, { handle: handles.get(stage) ?? '' });
    const paths = ['/1', '/2', '/3'];
    for (const path of paths) expect((await call(other, path)).status).toBe(200);
    await sleep(100);
    const before = readFileSync(file, 'utf8');

    limitFiles(full, statSync(file).size + 100);
    for (let count = 0; count < 3; count += 1) expect((await call(full, '/refused')).code).toBe('record_unavailable');
    expect(readFileSync(file, 'utf8').startsWith(before)).toBe(true);

    limitFiles(full, 'unlimited');
    const isWritable = async () => (await fetch(`http://${full.sidecar.addresses.health}/readyz`)).status === 200;
    await eventually('the record takes lines again', isWritable);
    for (const [stage, path] of [
      [full, '/4'],
      [other, '/5'],
    ] as const)
      expect((await call(stage, path)).status).toBe(200);
    await full.sidecar.stop();
    await other.sidecar.stop();
    expect(admittedPaths(readRecord(file))).toEqual(new Set([...paths, '/4', '/5']));
    expect((await checkChain(file)).outcomeUnknown).toBe(0);
    expect(full.sidecar.output() + other.sidecar.output()).not.toContain('made the record shorter');
  } finally {
    await full.close();
    await other.close();
  }
});
