import { mkdtempSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const spiffeId = 'spiffe://example.org/invoice-bot';
const dir = mkdtempSync(join(tmpdir(), 'waybill-ready-'));
const socketPath = join(dir, 'agent.sock');
let stage: Stage;
let tool: EchoTool;
let workloadApi: WorkloadApiServer | undefined;

beforeAll(async () => {
  tool = await openEchoTool();
  // Nobody listens at the socket yet.
  stage = await openStage({
    dir,
    tools: { crm: { port: tool.port } },
    corp: { client_auth: 'spiffe_jwt', client_id: undefined, client_secret_file: undefined, actor: 'jwt-svid' },
    sections: { identity: { workload_api: `unix://${socketPath}` } },
  });
});
afterAll(async () => {
  await stage.close();
  workloadApi?.close();
  await tool.close();
});

async function health(
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
): Promise<{ status: number; body: string }> {
  const [host, port] = stage.sidecar.addresses.health.split(':');
  return new Promise((resolve, reject) => {
    request({ host, port, path, headers, method }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
    })
      .once('error', reject)
      .end();
  });
}

test('without its identity a sidecar lives, is not ready, says why, and refuses what needs one', async () => {
  expect(await health('/livez')).toMatchObject({ status: 200, body: expect.stringContaining('"ok"') as string });
  const { status, body } = await health('/readyz');
  expect(status).toBe(503);
  expect(JSON.parse(body)).toEqual({ status: 'not ready', missing: ['no SVID from the Workload API'] });
  const { handle } = await stage.task();
  const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/', { handle });
  expect([answer.status, answer.code]).toEqual([503, 'identity_unavailable']);
  expect(answer.headers['retry-after']).toBeDefined();
  expect(tool.seen).toEqual([]);
  expect(await stage.sidecar.metrics()).not.toMatch(/^waybill_svid_\w+_timestamp_seconds \d/m);
});

test('it is ready when the identity comes, and calls pass', async () => {
  const authority = await openAuthority('example.org');
  workloadApi = await openWorkloadApiServer({
    socketPath,
    authority,
    spiffeId,
    x509TtlSeconds: 600,
    jwtTtlSeconds: 60,
  });
  await expect.poll(async () => (await health('/readyz')).status, { timeout: 20_000 }).toBe(200);
  const { handle } = await stage.task();
  await expect
    .poll(async () => (await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/', { handle })).status)
    .toBe(200);
  const rotated = readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'svid.rotated');
  expect(rotated[0]?.['spiffe_id']).toBe(spiffeId);
  const expiry = await stage.sidecar.metric('waybill_svid_expiry_timestamp_seconds');
  expect(expiry - Date.now() / 1000).toBeGreaterThan(300);
  const begin = await stage.sidecar.metric('waybill_svid_not_before_timestamp_seconds');
  expect(expiry - begin).toBeGreaterThanOrEqual(600);
  expect(expiry - begin).toBeLessThan(700);
}, 40_000);

test('it is not ready any more when the identity is taken away', async () => {
  await workloadApi?.removeEntries();
  await expect.poll(async () => (await health('/readyz')).status, { timeout: 10_000 }).toBe(503);
  expect((await health('/livez')).status).toBe(200);
  await expect.poll(() => readRecord(stage.sidecar.eventsFile).some(({ event }) => event === 'svid.lost')).toBe(true);
});

test('health answers to probes, and not to pages in a browser', async () => {
  expect((await health('/')).status).toBe(404);
  expect((await health('/livez', {}, 'HEAD')).status).toBe(200);
  expect((await health('/livez', {}, 'POST')).status).toBe(403);
  expect((await health('/livez', { host: 'rebound.example.org' })).status).toBe(403);
  expect((await health('/livez', { origin: 'https://evil.example.org' })).status).toBe(403);
});

test('when the process started is told, so that Prometheus sees every start', async () => {
  const [startedAt, again] = [await startTime(), await startTime()];
  expect(Math.abs(Date.now() / 1000 - startedAt)).toBeLessThan(120);
  expect(again).toBe(startedAt);
});

const startTime = async (): Promise<number> => stage.sidecar.metric('waybill_start_time_seconds');

test('what the sidecar was started with tells no more than its configuration file', async () => {
  // launch.js becomes the program: the pid that was started is the sidecar itself, and nobody can attach a debugger by a signal.
  const commandLine = readFileSync(`/proc/${stage.sidecar.pid}/cmdline`, 'utf8').split('\0');
  expect(commandLine).toContain('--disable-sigusr1');
  expect(commandLine.at(-2)).toBe(join(dir, 'waybill.yaml'));
  process.kill(stage.sidecar.pid, 'SIGUSR1');
  expect((await health('/livez')).status).toBe(200);
  expect(stage.sidecar.output()).not.toContain('Debugger listening');
});
