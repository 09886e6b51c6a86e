import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
