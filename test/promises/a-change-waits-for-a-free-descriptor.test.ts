import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';

let sidecar: SidecarProcess;

beforeEach(async () => {
  sidecar = await startSidecar('rules: [{ name: all, effect: allow, when: "true" }]');
});
afterEach(async () => {
  await sidecar?.kill();
  removeFolder(sidecar.dir);
});

/** What it has open stays open; nothing more can be opened. */
function limitOpenFiles(limit: string): void {
  execFileSync('prlimit', ['--pid', String(sidecar.pid), `--nofile=${limit}:`]);
}

const said = () => sidecar.events().filter(({ event }) => String(event).startsWith('config.'));
const told = () => sidecar.output().split('no file can be opened').length - 1;
const isLimitable = spawnSync('prlimit', ['--version']).status === 0;

test.for<[string, () => void]>([
  ['a changed file is', () => appendFileSync(join(sidecar.dir, 'waybill.yaml'), 'purposes: { look: { tools: [] } }\n')],
  ['a file that is to be read again is', () => process.kill(sidecar.pid, 'SIGHUP')],
])('without a free descriptor %s neither taken nor refused; with one it is, by itself', async ([, act], { skip }) => {
  skip(!isLimitable, 'prlimit is missing');
  const before = /^Max open files +(?<soft>\d+)/m.exec(readFileSync(`/proc/${sidecar.pid}/limits`, 'utf8'));
  limitOpenFiles('3');
  act();
  await sleep(3000);
  // Once for as long as it lasts, not with each look.
  expect([said(), told()]).toEqual([[], 1]);
  limitOpenFiles(before?.groups?.['soft'] ?? '1024');
  await eventually('the change is in force', () => said().length > 0);
  expect(said()).toMatchObject([{ event: 'config.reloaded' }]);
  expect(await sidecar.metric('waybill_config_reloads_total{outcome="rejected"}')).toBe(0);
  expect(await sidecar.stop()).toBe(0);
});
