import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { killRemaining, launcher, Running, runWaybill } from '../stage/command-line.ts';
import { freePort } from '../stage/free-port.ts';

vi.setConfig({ testTimeout: 60_000 });

let folder: string;
let config: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'wb-health-'));
  config = join(folder, 'waybill.yaml');
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

async function writeConfig(identity: string): Promise<void> {
  writeFileSync(
    config,
    `version: 1
agent: { name: bot }
identity: ${identity}
tools: {}
rules: []
listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '0.0.0.0:${await freePort()}' }
ca: { dir: '${folder}/ca', publish: '${folder}/trust' }
operator: { socket: '${folder}/operator.sock' }
record: { file: '${folder}/events.jsonl' }
`,
  );
}

const askHealth = () => runWaybill(['health', '--config', config]);

test('waybill health exits 69 without a sidecar, and 0 with one that is ready', async () => {
  await writeConfig('none');
  expect(await askHealth()).toMatchObject({
    code: 69,
    stderr: expect.stringContaining('no sidecar answers') as string,
  });
  await new Running(process.execPath, [launcher, 'run', '--config', config]).ready();
  expect(await askHealth()).toMatchObject({ code: 0, stderr: '' });
});

test('waybill health exits 1 where calls cannot pass, and says what is missing', async () => {
  await writeConfig(`{ workload_api: 'unix://${folder}/none.sock' }`);
  await new Running(process.execPath, [launcher, 'run', '--config', config]).ready();
  const { code, stdout } = await askHealth();
  expect(code).toBe(1);
  expect(stdout).toMatch(/no SVID/);
});
