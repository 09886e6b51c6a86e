import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { callOperator, type StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;

beforeEach(async () => {
  tool = await openEchoTool();
  stage = await openStage({ tools: { crm: { port: tool.port } } });
});
afterEach(async () => {
  await stage?.close();
  await tool?.close();
});

const use = ({ handle }: StagedTask) => callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', { handle });

test('a file that stays empty or gone is told once, and so is its return', async () => {
  const [task, file] = [await stage.task(), join(stage.dir, 'waybill.yaml')];
  const said = (): unknown[] =>
    stage.sidecar.events().flatMap(({ event }) => (String(event).startsWith('config.') ? [event] : []));
  const text = readFileSync(file);
  writeFileSync(file, '');
  await eventually('it is told', () => said().length === 1, 12_000);
  expect(stage.sidecar.output()).toMatch(/waybill\.yaml:1:1: is empty.*the one before stays in force/);
  expect(await stage.sidecar.metric('waybill_config_reloads_total{outcome="rejected"}')).toBe(1);
  renameSync(file, `${file}.away`);
  await sleep(7000);
  expect([said(), (await use(task)).status]).toEqual([['config.rejected'], 200]);
  writeFileSync(file, text);
  await eventually('it is back', () => said().length === 2);
  expect(said()).toEqual(['config.rejected', 'config.reloaded']);
});

test('nor is one told again that was told by hand', async () => {
  const file = join(stage.dir, 'waybill.yaml');
  const rejected = (): Promise<number> => stage.sidecar.metric('waybill_config_reloads_total{outcome="rejected"}');
  const before = await rejected();
  const text = readFileSync(file);
  renameSync(file, `${file}.away`);
  process.kill(stage.sidecar.pid, 'SIGHUP');
  await eventually('it is told', async () => (await rejected()) === before + 1);
  await sleep(7000);
  expect(await rejected()).toBe(before + 1);
  writeFileSync(file, text);
  await eventually('it is back', () => stage.sidecar.events().at(-1)?.['event'] === 'config.reloaded');
});

test('and what takes its place at that moment is not missed', async () => {
  const file = join(stage.dir, 'waybill.yaml');
  const good = readFileSync(file, 'utf8');
  const inForce = async () => (await callOperator(stage.sidecar.addresses.socket, 'GET', '/v1/sidecar')).body['config'];
  for (const ms of [1, 2, 3, 4, 6]) {
    const before = await inForce();
    writeFileSync(`${file}.bad`, `${good}\nnonsense_${ms}: 1\n`);
    writeFileSync(`${file}.good`, `${good}\n# ${ms}\n`);
    renameSync(`${file}.bad`, file);
    process.kill(stage.sidecar.pid, 'SIGHUP');
    await sleep(ms);
    renameSync(`${file}.good`, file);
    await eventually('the good one is in force', async () => (await inForce()) !== before);
  }
});
