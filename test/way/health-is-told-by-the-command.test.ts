import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
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

async function writeConfig(identity: string, port?: number): Promise<void> {
  writeFileSync(
    config,
    `version: 1
agent: { name: bot }
identity: ${identity}
tools: {}
rules: []
listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '0.0.0.0:${port ?? (await freePort())}' }
ca: { dir: '${folder}/ca', publish: '${folder}/trust' }
operator: { socket: '${folder}/operator.sock' }
record: { file: '${folder}/events.jsonl' }
`,
  );
}

const askHealth = (...more: string[]) => runWaybill(['health', '--config', config, ...more]);

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

test('waybill health --json prints what it was told, and nothing else', async () => {
  await writeConfig(`{ workload_api: 'unix://${folder}/none.sock' }`);
  await new Running(process.execPath, [launcher, 'run', '--config', config]).ready();
  const { code, stdout } = await askHealth('--json');
  expect([code, JSON.parse(stdout)]).toEqual([
    1,
    { status: 'not ready', missing: [expect.stringContaining('no SVID')] as string[] },
  ]);
});

test('waybill health --json of who is no sidecar prints nothing, and exits 69', async () => {
  const other = createServer((_request, response) => void response.end('<html>')).listen(0, '127.0.0.1');
  try {
    await once(other, 'listening');
    await writeConfig('none', (other.address() as AddressInfo).port);
    expect(await askHealth('--json')).toMatchObject({
      code: 69,
      stdout: '',
      stderr: expect.stringContaining('is no sidecar') as string,
    });
  } finally {
    other.close();
  }
});

test('waybill health exits 69 of a sidecar that is not there, also where its port is one that it picks', async () => {
  await writeConfig('none', 0);
  const sidecar = new Running(process.execPath, [launcher, 'run', '--config', config]);
  await sidecar.ready();
  expect(await askHealth()).toMatchObject({ code: 0 });
  sidecar.child.kill();
  await sidecar.finished;
  const { code, stderr } = await askHealth();
  expect([code, stderr]).toEqual([69, expect.stringContaining('no sidecar answers')]);
});
