import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { openTlsTokenService, type TlsTokenService } from '../fakes/tls-token-service.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openTask, removeFolder } from '../stage/sidecar-process.ts';
import { certificateOf, tlsCaller } from '../stage/tls-caller.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const id = (name: string): string => `spiffe://example.org/${name}`;
const resource = 'https://crm.test';

let authority: Authority;
let workload: WorkloadApiServer;
let service: TlsTokenService;
let tool: WayInStage;
let agent: Stage;
let dir: string;

beforeAll(async () => {
  authority = await openDomain();
  const own = await makeToolCertificate('localhost');
  service = await openTlsTokenService({ tls: { ...own, clientCa: [authority.bundle().x509Pem] } });
  dir = mkdtempSync(join(tmpdir(), 'waybill-channel-'));
  const ca = join(dir, 'own-ca.pem');
  writeFileSync(ca, own.ca);
  const bound = { issuer: service.issuer, client_auth: 'spiffe_x509', tls: { ca } };
  const domains = { 'example.org': 'workload_api' };
  tool = await openWayIn({
    name: 'crm',
    authority,
    origin: resource,
    inbound: {
      tls: 'svid',
      client_certificates: 'require',
      program: 'tool',
      present: 'original',
      accept: [{ issuer: service.issuer, proof: 'mtls' }],
    },
    // Its keys are fetched over TLS that a private authority vouches for, since they are at the origin of a token service.
    sections: { trust: { domains, issuers: [{ issuer: service.issuer }] }, token_services: { bound } },
  });
  const socketPath = join(dir, 'workload.sock');
  const spiffeId = id('invoice-bot');
  workload = await openWorkloadApiServer({ socketPath, authority, spiffeId, x509TtlSeconds: 3600, jwtTtlSeconds: 60 });
  const [, port] = tool.to.address().split(':');
  agent = await openStage({
    dir: mkdtempSync(join(tmpdir(), 'waybill-channel-agent-')),
    tools: {
      crm: {
        port: Number(port),
        more: {
          tls: { client: 'svid', spiffe_id: id('crm') },
          token: { from: 'bound', resource, scopes: ['read'], proof: 'mtls' },
          delegate: { resources: [resource], risk: 'read', hops: 0 },
        },
      },
    },
    services: { bound },
    sections: {
      identity: { workload_api: `unix://${socketPath}` },
      trust: { domains, issuers: [{ issuer: service.issuer, audience: 'invoice-bot' }] },
    },
  });
});
afterAll(async () => {
  await agent?.close();
  await tool?.close();
  workload?.close();
  await service?.close();
  removeFolder(dir);
});

test('a call with a bound token and its chain passes the way in of the tool, also after a rotation', async () => {
  const { handle } = await openTask(agent.sidecar, { subject_token: await service.subjectToken() });
  const { outbound } = agent.sidecar.addresses;
  const call = () =>
    callThrough(outbound, `http://${outbound}/tools/crm/x`, { headers: { Authorization: `Bearer ${handle}` } });
  const first = await call();
  expect([first.status, first.code]).toEqual([200, undefined]);
  const admitted = tool.sidecar.events().find((event) => event['event'] === 'call.admitted');
  expect(admitted).toMatchObject({
    binding: 'key',
    subject: { sub: 'alice' },
    caller: id('invoice-bot'),
    chain: [id('invoice-bot')],
  });
  await workload.rotate();
  for (let round = 0; round < 20; round += 1) {
    expect(await call()).toMatchObject({ status: 200 });
    await new Promise((done) => setTimeout(done, 20));
  }
  const used = service.posts.filter(({ path }) => path === '/token').map(({ x5t }) => x5t);
  expect(new Set(used).size).toBe(2);
});

test('whoever takes the token to another connection is turned away', async () => {
  const [stolen = ''] = service.issued;
  const thief = certificateOf(await authority.issueX509(id('thief'), 600));
  const same = certificateOf(await authority.issueX509(id('invoice-bot'), 600));
  for (const certificate of [thief, same]) {
    const caller = await tlsCaller(tool, certificate, stolen);
    const answer = await caller.send({ proof: null, scheme: 'Bearer' });
    expect([answer.status, answer.code]).toEqual([401, 'token_foreign_presenter']);
  }
});
