import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openTlsTokenService } from '../fakes/tls-token-service.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';
import { type EchoTool, openEchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const what = 'a token service or issuer gives no answer, or says that it is not well';
/** What is wrong with a service, and what stands in the log. */
const troubles = {
  down: { reason: 'unreachable', code: 'ECONNREFUSED' },
  slow: { reason: 'timeout' },
  reset: { reason: 'unreachable' },
  half: { reason: 'cut' },
  broken: { reason: 'status', code: '500' },
  throttled: { reason: 'status', code: '429' },
} as const;
type Trouble = keyof typeof troubles;

const services = new Map<Trouble, FakeTokenService>();
let foreign: Awaited<ReturnType<typeof openTlsTokenService>>;
let demanding: Awaited<ReturnType<typeof openTlsTokenService>>;
let tool: EchoTool;
let stage: Stage;

beforeAll(async () => {
  tool = await openEchoTool();
  for (const name of Object.keys(troubles) as Trouble[]) {
    services.set(name, await openFakeTokenService({ path: '/realms/a-tenant' }));
  }
  foreign = await openTlsTokenService({
    tls: { ...(await makeToolCertificate('localhost', '127.0.0.1')), clientCa: [] },
  });
  const certificate = await makeToolCertificate('localhost', '127.0.0.1');
  demanding = await openTlsTokenService({ tls: { ...certificate, clientCa: [certificate.ca] }, demand: true });
  const issuers = new Map<string, string>([...services].map(([name, { issuer }]) => [name, issuer]));
  issuers.set('foreign', foreign.issuer);
  issuers.set('demanding', demanding.issuer);
  const toolAt = (name: string) => ({
    port: tool.port,
    more: { token: { from: name, audience: [name], scopes: ['x'] } },
  });
  const dir = mkdtempSync(join(tmpdir(), 'waybill-why-'));
  writeFileSync(join(dir, 'demanding.pem'), certificate.ca);
  stage = await openStage({
    dir,
    tools: Object.fromEntries([...issuers.keys()].map((name) => [name, toolAt(name)])),
    services: {
      ...Object.fromEntries([...issuers].map(([name, issuer]) => [name, serviceAt(issuer)])),
      demanding: { ...serviceAt(demanding.issuer), tls: { ca: join(dir, 'demanding.pem') } },
    },
  });
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([...services.values(), foreign, demanding].map((one) => one?.close()));
  await tool?.close();
});

function serviceAt(issuer: string): object {
  return { issuer, client_auth: 'client_secret_post', client_id: 'bot', client_secret_file: '/etc/hostname' };
}

/** A call of a new task, which has no token yet. */
async function call(name: string) {
  const { handle } = await stage.task();
  return callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/`, { handle });
}

/** Lines of the log about one origin, without what every line has. */
function told(issuer: string): { reason: string; code?: string }[] {
  const lines = stage.sidecar
    .output()
    .split('\n')
    .filter((line) => line.includes(`"msg":"${what}"`));
  return lines
    .map((line) => JSON.parse(line) as { origin: string; reason: string; code?: string })
    .filter(({ origin }) => origin === new URL(issuer).origin)
    .map(({ reason, code }) => ({ reason, ...(code === undefined ? {} : { code }) }));
}

test.for(Object.keys(troubles) as Trouble[])('%s: its reason and code, once a minute', async (name) => {
  const service = services.get(name)!;
  // Its metadata are known, so that it is the token endpoint that fails.
  expect((await call(name)).status).toBe(200);
  expect(told(service.issuer)).toEqual([]);
  if (name === 'down') await service.close();
  else service.lie = name;
  for (let count = 0; count < 3; count++) {
    const { status, code } = await call(name);
    expect([status, code]).toEqual([503, 'token_service_unavailable']);
  }
  await eventually('it is told', () => told(service.issuer).length > 0);
  expect(told(service.issuer)).toEqual([expect.objectContaining(troubles[name])]);
});

test('an authority that is not trusted is told by its own code', async () => {
  expect((await call('foreign')).code).toBe('token_service_unavailable');
  await eventually('it is told', () => told(foreign.issuer).length > 0);
  expect(told(foreign.issuer)).toEqual([{ reason: 'unreachable', code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' }]);
});

// In TLS 1.3 our side of the handshake is done before the service has seen that there is no certificate.
test('a service that demands a certificate is told by the alert that it sends', async () => {
  for (let count = 0; count < 3; count++) expect((await call('demanding')).code).toBe('token_service_unavailable');
  await eventually('it is told', () => told(demanding.issuer).length > 0);
  const code = 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED';
  expect(told(demanding.issuer)).toEqual([{ reason: 'unreachable', code }]);
});

test('no line holds a path, a token or a secret', () => {
  const lines = stage.sidecar
    .output()
    .split('\n')
    .filter((line) => line.includes(what));
  expect(lines.length).toBeGreaterThan(6);
  for (const line of lines) {
    expect(Object.keys(JSON.parse(line) as object).toSorted()).toEqual(
      expect.arrayContaining(['level', 'msg', 'origin', 'reason', 'time']),
    );
    expect(line).not.toMatch(/realms|tenant|eyJ|bot/);
  }
});
