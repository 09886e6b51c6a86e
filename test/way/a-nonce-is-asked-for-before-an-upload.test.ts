import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openTask, removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';
import { basic } from '../stage/raw-call.ts';

let service: FakeTokenService;
let sidecar: SidecarProcess;
const seen: string[] = [];
const tool = createServer((request, response) => {
  const proof = String(request.headers['dpop'] ?? '').split('.')[1] ?? '';
  const { nonce } =
    proof === ''
      ? { nonce: undefined }
      : (JSON.parse(Buffer.from(proof, 'base64url').toString()) as { nonce?: string });
  seen.push(
    `${request.method} ${request.headers.authorization === undefined ? 'bare' : 'with token'} ${nonce ?? 'no nonce'}`,
  );
  let size = 0;
  request.on('data', (chunk: Buffer) => (size += chunk.length));
  request.on('end', () => {
    response.setHeader('DPoP-Nonce', 'n-1');
    if (nonce !== 'n-1') response.setHeader('WWW-Authenticate', 'DPoP error="use_dpop_nonce"');
    response.statusCode = nonce === 'n-1' ? 200 : 401;
    // A second and more: the token of `slow` is over when its tool has told the nonce.
    const isSlow = request.method === 'HEAD' && request.headers.host === 'slow.test';
    setTimeout(() => response.end(String(size)), isSlow ? 1300 : 0);
  });
});

const secretFile = join(mkdtempSync(join(tmpdir(), 'waybill-secret-')), 'secret');

beforeAll(async () => {
  writeFileSync(secretFile, 'a-secret-of-the-bot');
  await new Promise<void>((done) => tool.listen(0, '127.0.0.1', done));
  service = await openFakeTokenService();
  sidecar = await startSidecar(`
identity: none
trust: { issuers: [ { issuer: "${service.issuer}", audience: invoice-bot } ] }
token_services:
  corp: { issuer: "${service.issuer}", client_auth: client_secret_basic, client_id: bot, client_secret_file: "${secretFile}", actor: none, expect: { act: any } }
tools:
  crm:
    match: { host: crm.test }
    token: { from: corp, audience: [crm], scopes: [crm.read], proof: dpop, nonce: required }
    dial: 127.0.0.1:${(tool.address() as AddressInfo).port}
  slow:
    match: { host: slow.test }
    token: { from: corp, audience: [slow], scopes: [slow.read], proof: dpop, nonce: required, use_for: 1s }
    dial: 127.0.0.1:${(tool.address() as AddressInfo).port}
rules: [ { name: all, effect: allow, when: 'true' } ]
`);
});

afterAll(async () => {
  await sidecar.stop();
  removeFolder(sidecar.dir);
  removeFolder(dirname(secretFile));
  await service.close();
  tool.close();
  tool.closeAllConnections();
});

/** Sends 300,000 bytes, too many to keep for a second time. Returns the whole answer. */
async function upload(name: string): Promise<string> {
  const task = await openTask(sidecar, { subject_token: await service.subjectToken() });
  const [host = '', port = ''] = sidecar.addresses.outbound.split(':');
  const socket = connect(Number(port), host);
  const length = 300_000;
  socket.write(
    `POST http://${name}/up HTTP/1.1\r\nHost: ${name}\r\nProxy-Authorization: ${basic(task.handle)}\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n`,
  );
  socket.write(Buffer.alloc(length, 0x61));
  const chunks: Buffer[] = [];
  for await (const chunk of socket as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('latin1');
}

test('a body that cannot be sent twice meets no challenge: a HEAD without credential fetches the nonce first', async () => {
  expect(await upload('crm.test')).toMatch(/^HTTP\/1\.1 200 [\s\S]*300000$/);
  expect(seen).toEqual(['HEAD bare no nonce', 'POST with token n-1']);
  const probes = sidecar.events().filter((event) => event['event'] === 'call.probe');
  expect(probes).toMatchObject([{ tool: 'crm', status: 401, target: { method: 'HEAD', path: '/up' } }]);
});

test('a token that ended while its tool was asked for the nonce is not sent: the call gets another', async () => {
  expect(await upload('slow.test')).toMatch(/^HTTP\/1\.1 200 [\s\S]*300000$/);
  const ofSlow = sidecar.events().filter((event) => event['tool'] === 'slow');
  const [first, second] = ofSlow.filter((event) => event['event'] === 'token.issued').map(credentialOf);
  const [admitted, ...others] = ofSlow.filter((event) => event['event'] === 'call.admitted');
  const sent = credentialOf(admitted);
  expect([sent['id'], others]).toEqual([second?.['id'], []]);
  expect(sent['id']).not.toBe(first?.['id']);
  expect(Date.parse(String(admitted?.['at']))).toBeLessThan(Date.parse(String(sent['expires_at'])));
});

function credentialOf(event: Readonly<Record<string, unknown>> | undefined): Readonly<Record<string, unknown>> {
  return event?.['credential'] as Readonly<Record<string, unknown>>;
}
