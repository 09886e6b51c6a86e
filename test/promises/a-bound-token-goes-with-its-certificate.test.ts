import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { openTlsTokenService, type TlsTokenService } from '../fakes/tls-token-service.ts';
import { type BoundTool, openBoundTool } from '../stage/bound-tool.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { findSecrets, secretsOfToken } from '../stage/secret-scan.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openDomain } from '../stage/way-in-stage.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const spiffeId = 'spiffe://example.org/invoice-bot';
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

let authority: Authority;
let workload: WorkloadApiServer;
let service: TlsTokenService;
let tool: BoundTool;
let stage: Stage;
let alice: StagedTask;

beforeAll(async () => {
  authority = await openDomain();
  const own = await makeToolCertificate('localhost', 'crm.test', 'files.test');
  const { x509Pem } = authority.bundle();
  service = await openTlsTokenService({ tls: { ...own, clientCa: [x509Pem] }, delayMs: 80 });
  tool = await openBoundTool(own, x509Pem);
  const dir = mkdtempSync(join(tmpdir(), 'waybill-bound-'));
  const socketPath = join(dir, 'workload.sock');
  workload = await openWorkloadApiServer({ socketPath, authority, spiffeId, x509TtlSeconds: 3600, jwtTtlSeconds: 60 });
  const ca = join(dir, 'own-ca.pem');
  const keyFile = join(dir, 'client-key.pem');
  writeFileSync(ca, own.ca);
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const more = (from: string) => ({
    tls: { ca, client: 'svid' },
    token: { from, audience: 'crm', scopes: ['read'], proof: 'mtls' },
  });
  stage = await openStage({
    dir,
    tools: {
      crm: { port: tool.port, more: more('by-svid') },
      files: { port: tool.port, more: more('by-key') },
    },
    services: {
      'by-svid': { issuer: service.issuer, client_auth: 'spiffe_x509', tls: { ca } },
      'by-key': {
        issuer: service.issuer,
        client_auth: 'private_key_jwt',
        client_id: 'invoice-bot',
        client_key_file: keyFile,
        tls: { ca },
      },
    },
    sections: (users) => ({
      identity: { workload_api: `unix://${socketPath}` },
      trust: { issuers: [{ issuer: users.issuer, audience: 'invoice-bot' }] },
    }),
  });
  alice = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  workload?.close();
  await tool?.close();
  await service?.close();
});

const call = (name: string): Promise<RawAnswer> =>
  callThrough(stage.sidecar.addresses.outbound, `http://${stage.sidecar.addresses.outbound}/tools/${name}/x`, {
    headers: { Authorization: `Bearer ${alice.handle}` },
  });

test('W5: a token is bound to our SVID, whichever way we authenticate, and used over connections that show it', async () => {
  for (const name of ['crm', 'files']) {
    const answer = await call(name);
    expect([name, answer.status]).toEqual([name, 200]);
    const seen = tool.calls.at(-1);
    expect(seen?.presented).toBe(seen?.bound);
    expect(seen?.chain).toMatch(/^ey/);
    const event = stage.sidecar.events().findLast((line) => line['event'] === 'call.admitted');
    expect(event).toMatchObject({ binding: 'key', proof: { kind: 'mtls', id: seen?.presented } });
  }
  const [bySvid, byKey] = service.posts;
  expect([bySvid?.form.get('client_id'), bySvid?.form.has('client_assertion')]).toEqual([spiffeId, false]);
  expect([byKey?.form.get('client_id'), byKey?.form.has('client_assertion')]).toEqual(['invoice-bot', true]);
  expect(byKey?.x5t).toBe(bySvid?.x5t);
});

test('W2: it does not go where no certificate can be shown', async () => {
  const seen = service.posts.length;
  const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', { handle: alice.handle });
  expect([answer.status, answer.code, service.posts.length]).toEqual([403, 'address_forbidden', seen]);
});

test('a rotation of the SVID fails no call, and each SVID has tokens of its own', async () => {
  // An exchange takes longer than an SVID lasts at first, so that each one ends after a rotation.
  const before = service.posts.length;
  const shown = new Set<string>();
  let calls = 0;
  const failed: string[] = [];
  const rotated: number[] = [];
  const callers = Array.from({ length: 6 }, async (_, at) => {
    while (rotated.length < 30) {
      const answer = await call(at % 2 === 0 ? 'crm' : 'files');
      calls += 1;
      if (answer.status === 200) shown.add(answer.body);
      else failed.push(`${answer.status} ${answer.code ?? ''}`);
    }
  });
  while (rotated.length < 30) {
    await workload.rotate();
    rotated.push(performance.now());
    await new Promise((done) => setTimeout(done, rotated.length < 20 ? 50 : 150));
  }
  await Promise.all(callers);
  expect(failed).toEqual([]);
  expect(shown.size).toBeGreaterThan(4);
  expect(tool.calls.every(({ presented, bound }) => presented !== undefined && presented === bound)).toBe(true);
  // Two tools, and one exchange for each of them and each SVID: not one for each call.
  const exchanges = service.posts.slice(before).filter(({ path }) => path === '/token').length;
  expect(exchanges).toBeLessThanOrEqual(2 * 32);
  expect(calls).toBeGreaterThan(2 * exchanges);
});

test('W1: without an SVID nothing is sent, and what was bound to it goes back', async () => {
  expect((await call('crm')).status).toBe(200);
  const bySvid = tool.calls.at(-1)?.token ?? '';
  expect((await call('files')).status).toBe(200);
  const byKey = tool.calls.at(-1)?.token ?? '';
  await workload.removeEntries();
  await untilCode('crm', 'identity_unavailable');
  const seen = tool.calls.length;
  expect([(await call('crm')).status, (await call('files')).code]).toEqual([503, 'identity_unavailable']);
  expect(tool.calls.length).toBe(seen);
  // Where a key says who we are, revocation needs no SVID; with spiffe_x509 it is tried until there is one again.
  await eventually('the token that a key can revoke is', () => service.revoked.includes(byKey));
  await workload.setEntries([{ spiffeId }]);
  await eventually('the other one too', () => service.revoked.includes(bySvid), 15_000);
  expect((await call('crm')).status).toBe(200);
});

async function untilCode(name: string, code: string): Promise<void> {
  const end = performance.now() + 2000;
  while ((await call(name)).code !== code) if (performance.now() > end) throw new Error(`not ${code} within 2 s`);
}

test('W8: no token, assertion or key is in the record, the log or the metrics', async () => {
  const der = privateKey.export({ type: 'pkcs8', format: 'der' });
  const assertions = service.posts.flatMap(({ form }) => form.get('client_assertion') ?? []);
  expect(assertions.length).toBeGreaterThan(1);
  const secrets = [
    ...service.issued.slice(0, 20).flatMap((token) => secretsOfToken('token', token)),
    ...assertions.slice(0, 20).flatMap((text) => secretsOfToken('assertion', text)),
    { name: 'private key', value: Buffer.from(privateKey.export({ format: 'jwk' }).d ?? '', 'base64url') },
    { name: 'key file', value: der.subarray(-100) },
  ];
  const leftovers = [
    { where: 'record', bytes: readFileSync(stage.sidecar.eventsFile) },
    { where: 'log', bytes: Buffer.from(stage.sidecar.output()) },
    { where: 'metrics', bytes: Buffer.from(await stage.sidecar.metrics()) },
  ];
  expect(findSecrets(secrets, leftovers)).toEqual([]);
});
