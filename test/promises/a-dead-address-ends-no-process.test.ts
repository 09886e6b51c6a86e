import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDnsServer, type DnsServer } from '../fakes/dns-server.ts';
import { eventually } from '../fakes/eventually.ts';
import { openTlsTokenService, type TlsTokenService } from '../fakes/tls-token-service.ts';
import { runWaybill } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let dns: DnsServer;
let tool: EchoTool;
let service: TlsTokenService;
let stage: Stage;

beforeAll(async () => {
  dns = await openDnsServer();
  for (const name of ['localhost', 'several.test', 'named.test', 'bundles.test'])
    dns.names[name] = ['127.0.0.3', '127.0.0.4', '127.0.0.1'];
  const certificate = await makeToolCertificate('localhost', 'several.test', 'named.test');
  tool = await openEchoTool({ tls: certificate });
  service = await openTlsTokenService({ tls: { ...certificate, clientCa: [] } });
  const dir = mkdtempSync(join(tmpdir(), 'waybill-several-'));
  const ca = join(dir, 'service.pem');
  writeFileSync(ca, certificate.ca);
  const at = (from: string) => ({
    port: 1,
    ca: certificate.ca,
    more: {
      match: { host: 'several.test', paths: [`/${from}`] },
      dial: undefined,
      addresses: ['loopback'],
      token: { from, audience: [from], scopes: ['x'] },
    },
  });
  const named = {
    port: 1,
    ca: certificate.ca,
    token: false,
    more: { match: { host: 'named.test', port: tool.port }, dial: undefined, addresses: ['loopback'] },
  };
  stage = await openStage({
    dir,
    tools: { first: at('corp'), second: at('secure'), named },
    services: {
      secure: {
        issuer: service.issuer,
        client_auth: 'client_secret_post',
        client_id: 'bot',
        client_secret_file: '/etc/hostname',
        tls: { ca },
      },
    },
    sections: { dns: { servers: [dns.address] } },
  });
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([tool.close(), service.close(), dns.close()]);
});

async function call(path: string, port = tool.port): Promise<string | number> {
  const { handle } = await stage.task();
  const url = `https://several.test:${port}${path}`;
  const { status, code } = await callThrough(stage.sidecar.addresses.outbound, url, { handle });
  return code ?? status;
}

test('W1: over TLS too the next address of a name is dialled, of a tool', async () => {
  expect(await call('/corp')).toBe(200);
});

test('W1: of a token service', async () => {
  expect([await call('/secure'), service.issued.length]).toEqual([200, 1]);
});

test('W1: and where nobody answers at any of them, the call alone is refused', async () => {
  expect([await call('/corp', 1), await call('/corp')]).toEqual(['upstream_unreachable', 200]);
});

test('W1: the doctor names the address that answers', async () => {
  const { stdout } = await runWaybill(['doctor', '--config', join(stage.dir, 'waybill.yaml')]);
  expect(stdout).toContain(`named.test at 127.0.0.1:${tool.port} takes connections`);
});

test('W1: of a bundle endpoint', async () => {
  let arrived = 0;
  const endpoint = createServer((socket) => {
    socket.once('data', () => (arrived += 1)).on('error', () => undefined);
  });
  await new Promise<void>((done) => endpoint.listen(0, '127.0.0.1', done));
  const url = `https://bundles.test:${(endpoint.address() as AddressInfo).port}/`;
  const federated = await openStage({
    tools: {},
    shares: stage.service,
    sections: ({ issuer }) => ({
      trust: {
        issuers: [{ issuer, audience: 'invoice-bot' }],
        domains: { 'partner.org': { bundle_endpoint: { url, profile: 'https_web' } } },
      },
      dns: { servers: [dns.address] },
    }),
  });
  await eventually('it is reached', () => arrived > 0);
  await federated.close();
  endpoint.close();
});
