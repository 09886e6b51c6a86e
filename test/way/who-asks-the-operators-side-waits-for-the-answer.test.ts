import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';

let sidecar: SidecarProcess;
beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-asked-'));
  writeFileSync(join(dir, 'token'), randomBytes(24).toString('base64url'), { mode: 0o600 });
  sidecar = await startSidecar(
    `operator: { socket: ${dir}/operator.sock, listen: 127.0.0.1:0, tokens: { reader: ${dir}/token } }`,
    { dir },
  );
});
afterAll(async () => {
  await sidecar.stop();
  removeFolder(sidecar.dir);
});

async function open(address: string): Promise<Socket> {
  const [host = '', port] = address.split(':');
  const socket = connect(Number(port), host).on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

function ask(address: string, path: string, times: number): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${address}\r\n\r\n`.repeat(times);
}

/** The most memory that the process had, in MB. */
function peakMb(): number {
  const [, kb] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${sidecar.pid}/status`, 'utf8')) ?? [];
  return Number(kb) / 1024;
}

test.each([
  ['metrics', '/metrics'],
  ['health', '/readyz'],
  ['operator', '/v1/tasks'],
] as const)('many requests at once on a connection of %s end it', async (which, path) => {
  const address = sidecar.addresses[which] ?? '';
  const socket = await open(address);
  let answers = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (answers += chunk));
  const ended = new Promise((done) => socket.once('close', done));
  socket.write(ask(address, path, 200));
  await ended;
  expect(answers.match(/^HTTP\/1\.1 /gm)?.length ?? 0).toBeLessThan(2);
});

test.skipIf(process.platform !== 'linux')('who reads no answers takes no memory by asking for many', async () => {
  const before = peakMb();
  const { metrics, health } = sidecar.addresses;
  const sockets = await Promise.all(Array.from({ length: 5 }, () => open(metrics)));
  for (const socket of sockets) socket.pause().write(ask(metrics, '/metrics', 10_000));
  await sleep(100);
  const at = performance.now();
  const alive = await fetch(`http://${health}/livez`);
  expect(alive.status).toBe(200);
  expect(performance.now() - at).toBeLessThan(1000);
  expect(peakMb() - before).toBeLessThan(100);
  for (const socket of sockets) socket.destroy();
});

test('one after the other they are answered on one connection, as a scraper asks', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set<number | undefined>();
  for (let round = 0; round < 20; round += 1) {
    const [response] = await once(get(`http://${sidecar.addresses.metrics}/metrics`, { agent }), 'response');
    ports.add(response.socket.localPort);
    expect(await text(response)).toContain('waybill_events_total');
  }
  expect(ports.size).toBe(1);
  agent.destroy();
});
