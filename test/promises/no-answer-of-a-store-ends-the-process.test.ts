import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFleetStage } from '../stage/fleet.ts';
import { listenOnFreePort } from '../stage/free-port.ts';
import { removeFolder } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';

const answers: Readonly<Record<string, string>> = {
  'lists in lists': '*1\r\n'.repeat(20_000),
  'a list of more than can be': '*99999999999\r\n',
  'a text of more than can be': '$99999999999\r\n',
  'another protocol': 'HTTP/1.1 200 OK\r\n\r\n<html>',
  'what nobody asked for': ':1\r\n'.repeat(500),
  bytes: '\0\u00ff\r\n',
};

test.for(['a store', 'a store over TLS', 'a sentinel'])(
  'W1: %s that answers with anything is silent; the process lives, and asks again',
  async (kind) => {
    const dir = mkdtempSync(join(tmpdir(), 'waybill-garbage-'));
    const certificate = await makeToolCertificate('localhost');
    writeFileSync(join(dir, 'ca.pem'), certificate.ca);
    let answer = '';
    let connections = 0;
    const hear = (socket: Socket): void => {
      connections += 1;
      // At once, and not when it is asked.
      socket.on('error', () => undefined).write(answer, 'latin1');
    };
    const isTls = kind === 'a store over TLS';
    const server: Server = isTls ? createTlsServer(certificate, hear) : createServer(hear);
    const port = await listenOnFreePort(server);
    const places: Readonly<Record<string, Record<string, unknown>>> = {
      'a store': { store: `valkey://127.0.0.1:${port}` },
      'a store over TLS': { store: `valkeys://localhost:${port}`, tls: { ca: join(dir, 'ca.pem') } },
      'a sentinel': { sentinels: [`127.0.0.1:${port}`], master_name: 'main' },
    };
    const fleet = await openFleetStage(1, places[kind] ?? {});
    try {
      const { health } = fleet.replicas[0]!.sidecar.addresses;
      for (const [name, text] of Object.entries(answers)) {
        answer = text;
        const before = connections;
        await eventually(`it asks again after ${name}`, () => connections >= before + 3, 10_000);
        expect((await fetch(`http://${health}/livez`)).status, name).toBe(200);
        expect(await (await fetch(`http://${health}/readyz`)).text(), name).toContain('the store of the fleet');
      }
    } finally {
      await fleet.close();
      server.close();
      removeFolder(dir);
    }
  },
);

const role = '*4\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n';
const megabyte = Buffer.alloc(1 << 20, 'a');
const items = Buffer.from('$1\r\na\r\n'.repeat(100_000));

test.for([
  { name: 'one text', kind: 'store', first: '$500000000\r\n', more: megabyte },
  { name: 'one list', kind: 'store', first: '*100000000\r\n', more: items },
  { name: 'a list of lists', kind: 'store', first: '*33554432\r\n*33554432\r\n', more: items },
  { name: 'one list, after it said what it is', kind: 'store', first: `${role}*100000000\r\n`, more: items },
  { name: 'one text', kind: 'sentinel', first: '$500000000\r\n', more: megabyte },
])(
  'W1: a $kind that says $name without an end is heard no further; the process neither grows nor stops for it',
  async ({ kind, first, more }) => {
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.on('error', () => undefined);
      const pump = (): void => {
        while (socket.writable && socket.write(more)) continue;
        if (socket.writable) socket.once('drain', pump);
      };
      socket.once('data', () => {
        socket.write(first);
        pump();
      });
    });
    const place = `127.0.0.1:${await listenOnFreePort(server)}`;
    const store = kind === 'store' ? { store: `valkey://${place}` } : { sentinels: [place], master_name: 'main' };
    const fleet = await openFleetStage(1, { ...store, max_silence: '10s' });
    try {
      const { sidecar } = fleet.replicas[0]!;
      const before = residentMb(sidecar.pid);
      let [peakMb, slowestMs] = [0, 0];
      for (const startedAt = performance.now(); performance.now() - startedAt < 2500;) {
        const askedAt = performance.now();
        expect((await fetch(`http://${sidecar.addresses.health}/livez`)).status).toBe(200);
        slowestMs = Math.max(slowestMs, performance.now() - askedAt);
        peakMb = Math.max(peakMb, residentMb(sidecar.pid));
        await sleep(20);
      }
      expect(peakMb - before).toBeLessThan(100);
      expect(slowestMs).toBeLessThan(1000);
      // It is asked again and again, as one that is silent.
      expect(connections).toBeGreaterThan(5);
      expect(sidecar.output()).not.toContain('MaxListenersExceededWarning');
    } finally {
      await fleet.close();
      server.close();
    }
  },
);

/** Memory of a process, MB. */
function residentMb(pid: number): number {
  return Number(/VmRSS:\s+(?<kb>\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.groups?.['kb']) / 1024;
}
