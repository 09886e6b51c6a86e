import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { killRemaining, runWaybill } from '../stage/command-line.ts';

let folder: string;
const servers: Server[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-slow-'));
});
afterAll(() => {
  killRemaining();
  for (const server of servers) server.close().closeAllConnections();
  rmSync(folder, { recursive: true });
});

type Answer = Parameters<typeof createServer>[1] & object;

async function listen(where: string | number, answer: Answer): Promise<Server> {
  const server = createServer(answer).listen(where);
  servers.push(server);
  await once(server, 'listening');
  return server;
}

test('one that does not answer in time is there, and may still do what was asked', { timeout: 60_000 }, async () => {
  const socket = join(folder, 'silent.sock');
  await listen(socket, () => undefined);
  const where = ['--socket', socket];
  const [revoked, listed] = await Promise.all([
    runWaybill(['revoke', '--all', '--reason', 'test', ...where]),
    runWaybill(['tasks', 'list', ...where]),
  ]);
  expect([revoked.code, listed.code]).toEqual([69, 69]);
  expect(revoked.stderr).toMatch(/did not answer in 30 s; what was asked may still be done, .*waybill tasks list/);
  expect(listed.stderr).toMatch(/did not answer in 30 s\n$/);
  for (const { stderr } of [revoked, listed]) expect(stderr).not.toMatch(/no sidecar|start one/);
});

test('a health check waits as long as those who call it', async () => {
  const server = await listen(0, () => undefined);
  const { port } = server.address() as AddressInfo;
  const config = join(folder, 'waybill.yaml');
  writeFileSync(config, `version: 1\nagent: { name: agent }\nlisten: { health: "127.0.0.1:${port}" }\n`);
  const started = performance.now();
  const { code, stderr } = await runWaybill(['health', '--config', config]);
  expect(performance.now() - started).toBeLessThan(15_000);
  expect([code, stderr]).toEqual([69, expect.stringContaining('did not answer in 3 s')]);
});

test('an answer that is too long is told as what it is', { timeout: 60_000 }, async () => {
  const socket = join(folder, 'long.sock');
  const part = Buffer.alloc(1024 * 1024, ' ');
  await listen(socket, (_request, response) => {
    for (let count = 0; count < 17; count += 1) response.write(part);
    response.end('{}');
  });
  const { code, stderr } = await runWaybill(['inventory', '--socket', socket]);
  expect([code, stderr]).toEqual([69, expect.stringContaining('gave an answer of more than 16 MiB')]);
  expect(stderr).not.toMatch(/no sidecar|start one/);
});
