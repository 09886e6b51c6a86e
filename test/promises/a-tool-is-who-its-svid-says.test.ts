import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Authority, openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { certificateOf, type ClientCertificate } from '../stage/tls-caller.ts';
import { openDomain } from '../stage/way-in-stage.ts';
import { openStage, type Stage, type StagedTool } from '../stage/way-out-stage.ts';

const id = (name: string): string => `spiffe://example.org/${name}`;

/** A TLS server that asks for a client certificate, and answers with the SPIFFE ID and the serial of what it was shown. */
interface TlsTool {
  readonly port: number;
  readonly calls: string[];
  readonly connections: () => number;
  /** Serves with another certificate from now on. */
  show(certificate: ClientCertificate): void;
  close(): void;
}

let authority: Authority;
let workload: WorkloadApiServer;
let crm: TlsTool;
let files: TlsTool;
let imposter: TlsTool;
let stranger: TlsTool;
let plain: ScriptedTool;
let stage: Stage;
let alice: StagedTask;

beforeAll(async () => {
  authority = await openDomain();
  const foreign = await openAuthority('evil.org');
  crm = await openTlsTool(await svidOf('crm'));
  files = await openTlsTool(await svidOf('files/eu'));
  imposter = await openTlsTool(await svidOf('crm2'));
  stranger = await openTlsTool(certificateOf(await foreign.issueX509('spiffe://evil.org/crm', 600)));
  plain = await openScriptedTool((_request, response) => response.end('plain'));
  const dir = mkdtempSync(join(tmpdir(), 'waybill-svid-tool-'));
  const socketPath = join(dir, 'workload.sock');
  const spiffeId = id('invoice-bot');
  workload = await openWorkloadApiServer({ socketPath, authority, spiffeId, x509TtlSeconds: 3600, jwtTtlSeconds: 60 });
  const tool = (port: number, peer: string, client = 'svid'): StagedTool => ({
    port,
    more: { tls: { spiffe_id: peer, client } },
  });
  stage = await openStage({
    dir,
    tools: {
      crm: tool(crm.port, id('crm')),
      files: tool(files.port, `${id('files')}/**`),
      silent: tool(crm.port, id('crm'), 'none'),
      imposter: tool(imposter.port, id('crm')),
      segment: tool(imposter.port, `${id('crm')}/**`),
      stranger: tool(stranger.port, id('crm')),
      named: { port: crm.port, more: { tls: { client: 'svid' } } },
      plain: tool(plain.port, id('crm')),
    },
    sections: (service) => ({
      identity: { workload_api: `unix://${socketPath}` },
      trust: {
        domains: { 'example.org': 'workload_api' },
        issuers: [{ issuer: service.issuer, audience: 'invoice-bot' }],
      },
    }),
  });
  alice = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  workload?.close();
  await plain?.close();
  for (const server of [crm, files, imposter, stranger]) server?.close();
});

/** Calls until an answer is as wanted, for five seconds. */
async function untilMounted(tool: string, isWanted: (answer: RawAnswer) => boolean): Promise<void> {
  const end = performance.now() + 5000;
  for (;;) {
    const answer = await mounted(tool);
    if (isWanted(answer)) return;
    if (performance.now() > end) throw new Error(`${tool} still answers ${answer.status} ${answer.code ?? ''}`);
  }
}

async function svidOf(name: string, ttlSeconds = 3600): Promise<ClientCertificate> {
  return certificateOf(await authority.issueX509(id(name), ttlSeconds));
}

async function openTlsTool(certificate: ClientCertificate): Promise<TlsTool> {
  const calls: string[] = [];
  let connections = 0;
  const server: Server = createServer(
    { cert: certificate.cert, key: certificate.key, requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      const { socket } = request;
      const peer = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
      calls.push(peer?.subjectAltName ?? 'nobody');
      response.end(JSON.stringify({ serial: peer?.serialNumber, by: request.headers['authorization'] !== undefined }));
    },
  );
  server.on('secureConnection', () => (connections += 1));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    calls,
    connections: () => connections,
    show: ({ cert, key }) => server.setSecureContext({ cert, key }),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const call = (tool: string) =>
  callThrough(stage.sidecar.addresses.outbound, `http://${tool}.test/x`, {
    handle: alice.handle,
  });
/** Through the mount, whose scheme is https by the configuration. */
const mounted = (tool: string) =>
  callThrough(stage.sidecar.addresses.outbound, `http://${stage.sidecar.addresses.outbound}/tools/${tool}/x`, {
    headers: { Authorization: `Bearer ${alice.handle}` },
  });

test('W2: a tool that proves its SPIFFE ID gets the call, and sees who calls', async () => {
  const answer = await mounted('crm');
  expect([answer.status, crm.calls.at(-1)]).toEqual([200, `URI:${id('invoice-bot')}`]);
  expect(JSON.parse(answer.body)).toMatchObject({ by: true });
  expect([(await mounted('files')).status, files.calls.length]).toEqual([200, 1]);
  // Where the configuration does not say so, nobody is shown who we are.
  expect([(await mounted('silent')).status, crm.calls.at(-1)]).toEqual([200, 'nobody']);
});

test('W2: whoever proves another identity, or none, gets nothing', async () => {
  for (const tool of ['imposter', 'segment', 'stranger', 'named']) {
    const answer = await mounted(tool);
    expect([tool, answer.status, answer.code]).toEqual([tool, 502, 'upstream_tls']);
  }
  const overHttp = await call('plain');
  expect([overHttp.status, overHttp.code]).toEqual([403, 'address_forbidden']);
  expect([imposter.calls, stranger.calls, plain.requests]).toEqual([[], [], []]);
});

test('an SVID of the tool that is over is not taken on a new connection', async () => {
  crm.show(await svidOf('crm', 1));
  await new Promise((done) => setTimeout(done, 1200));
  // A new SVID of ours closes what is open, so that this call connects anew.
  const before = await ownSerial();
  await workload.rotate();
  await untilMounted('files', ({ body }) => serialIn(body) !== before);
  expect((await mounted('crm')).code).toBe('upstream_tls');
  crm.show(await svidOf('crm'));
  expect((await mounted('crm')).status).toBe(200);
});

async function ownSerial(tool = 'files'): Promise<string> {
  return serialIn((await mounted(tool)).body);
}

function serialIn(body: string): string {
  return (JSON.parse(body) as { serial: string }).serial;
}

test('calls go on while our SVID rotates, and the new one is shown from then on', async () => {
  const shown = new Set<string>();
  let failed = 0;
  const end = performance.now() + 2500;
  const callers = Array.from({ length: 4 }, async () => {
    while (performance.now() < end) {
      const answer = await mounted('crm');
      if (answer.status === 200) shown.add(serialIn(answer.body));
      else failed += 1;
    }
  });
  for (let round = 0; round < 5; round += 1) {
    await workload.rotate();
    await new Promise((done) => setTimeout(done, 300));
  }
  await Promise.all(callers);
  expect(failed).toBe(0);
  expect(shown.size).toBeGreaterThanOrEqual(4);
  const connections = crm.connections();
  const [last, again] = [await ownSerial('crm'), await ownSerial('crm')];
  expect(last).toBe(again);
  expect(crm.connections() - connections).toBeLessThanOrEqual(1);
});

test('without an SVID nothing is sent where one is to be shown, open connections or not', async () => {
  expect((await mounted('crm')).status).toBe(200);
  const seen = crm.calls.length;
  await workload.removeEntries();
  await untilMounted('crm', ({ code }) => code === 'identity_unavailable');
  expect((await mounted('crm')).status).toBe(503);
  await workload.setEntries([{ spiffeId: id('invoice-bot') }]);
  await untilMounted('crm', ({ status }) => status === 200);
  expect(crm.calls.length).toBeGreaterThan(seen);
});
