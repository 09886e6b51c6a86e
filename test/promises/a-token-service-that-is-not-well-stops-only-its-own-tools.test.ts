import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcp, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFakeTokenService, type FakeTokenService, type FakeTokenServiceOptions } from '../fakes/token-service.ts';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { tries } from '../stage/tries.ts';

/** A place that nobody configured: whatever arrives here was sent astray. */
let strayed = 0;
const collector = createServer((_request, response) => {
  strayed += 1;
  response.end('{}');
});
let collectorOrigin = '';
const services: Record<string, FakeTokenService> = {};
const dir = mkdtempSync(join(tmpdir(), 'waybill-unwell-'));
let tool: EchoTool;
let stage: Stage;

/** Each tool has a service of its own, by the tool's name. */
const options: Record<string, FakeTokenServiceOptions> = {
  seven: { lie: 'rate_limited' },
  day: { lie: 'rate_limited_long' },
  gone: {},
  elsewhere: { metadata: (m) => ({ ...m, token_endpoint: `${collectorOrigin}/token` }) },
  other_issuer: { metadata: (m) => ({ ...m, issuer: collectorOrigin }) },
  slash: { metadata: (m) => ({ ...m, issuer: `${String(m['issuer'])}/` }) },
  plain: { metadata: (m) => ({ ...m, token_endpoint: 'http://sso.example.org/token' }) },
  keys_elsewhere: { metadata: (m) => ({ ...m, jwks_uri: `${collectorOrigin}/jwks` }) },
  revoke_elsewhere: { metadata: (m) => ({ ...m, revocation_endpoint: `${collectorOrigin}/revoke` }), lie: 'other_sub' },
  no_keys: { metadata: (m) => ({ ...m, jwks_uri: `${String(m['issuer'])}/nowhere` }) },
  asked: {},
};

beforeAll(async () => {
  await new Promise<void>((done) => collector.listen(0, '127.0.0.1', done));
  collectorOrigin = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  for (const [name, option] of Object.entries(options)) services[name] = await openFakeTokenService(option);
  await services['gone']?.close();
  tool = await openEchoTool();
  const names = Object.keys(options);
  writeFileSync(join(dir, 'secret-of-nobody'), 'a-client-secret-of-nobody', { mode: 0o600 });
  stage = await openStage({
    dir,
    tools: { crm: { port: tool.port }, ...Object.fromEntries(names.map((name) => [name, toolAt(name)])) },
    services: Object.fromEntries(names.map((name) => [name, serviceAt(name)])),
  });
});
afterAll(async () => {
  await stage?.close();
  for (const [name, service] of Object.entries(services)) if (name !== 'gone') await service.close();
  await tool.close();
  collector.close();
});

function toolAt(name: string) {
  const token = { from: name, audience: [name], scopes: ['crm.read'] };
  return { port: tool.port, more: { match: { host: `${name.replace('_', '-')}.test` }, token } };
}

function serviceAt(name: string): object {
  return {
    issuer: services[name]?.issuer,
    client_auth: 'client_secret_post',
    client_id: 'invoice-bot',
    client_secret_file: join(dir, 'secret-of-nobody'),
    ...(name === 'asked' ? { verify: 'introspect' } : {}),
  };
}

async function callTool(name: string): Promise<RawAnswer> {
  const { handle } = await stage.task();
  return callThrough(stage.sidecar.addresses.outbound, `http://${name.replace('_', '-')}.test/x`, { handle });
}

describe('W1: a service that asks for a pause gets it, and says for how long', () => {
  test.for([
    ['seven', 7],
    ['day', 60],
  ] as const)('%s: %d s at most', async ([name, seconds]) => {
    const first = await callTool(name);
    expect([first.status, first.code, first.headers['retry-after']]).toEqual([
      503,
      'token_service_unavailable',
      String(seconds),
    ]);
    // Another task of another user at the same service is not asked for either.
    const second = await callTool(name);
    expect([second.status, second.code]).toEqual([503, 'token_service_unavailable']);
    expect(Number(second.headers['retry-after'])).toBeGreaterThan(0);
    expect(services[name]?.counts.token).toBe(1);
    expect((await callTool('crm')).status).toBe(200);
  });

  test('one that is not there is a 503 at once, with Retry-After', tries, async () => {
    const startedAt = performance.now();
    const answer = await callTool('gone');
    expect([answer.status, answer.code, answer.headers['retry-after']]).toEqual([
      503,
      'token_service_unavailable',
      '1',
    ]);
    expect(performance.now() - startedAt).toBeLessThan(1000);
  });

  test('one that takes a connection and says nothing costs its time-out', tries, async () => {
    const silent = createTcp((socket) => socket.on('error', () => undefined));
    const { port } = new URL(services['gone']?.issuer ?? '');
    await new Promise<void>((done) => silent.listen(Number(port), '127.0.0.1', done));
    await new Promise((done) => setTimeout(done, 1100));
    const startedAt = performance.now();
    const answer = await callTool('gone');
    expect([answer.status, answer.code]).toEqual([503, 'token_service_unavailable']);
    expect(performance.now() - startedAt).toBeLessThan(2600);
    silent.close();
  });
});

describe('W5: nothing of ours goes where only a document of the service points', () => {
  test.for(['elsewhere', 'other_issuer', 'slash', 'plain', 'keys_elsewhere'])('%s', async (name) => {
    const answer = await callTool(name);
    expect([answer.status, answer.code]).toEqual([503, 'token_service_unavailable']);
    expect([services[name]?.counts.token, strayed]).toEqual([0, 0]);
  });

  test('a revocation endpoint elsewhere is as good as none', async () => {
    const answer = await callTool('revoke_elsewhere');
    expect([answer.status, answer.code]).toEqual([502, 'token_rejected']);
    await eventually('the loss is counted', () =>
      readRecord(stage.sidecar.eventsFile).some((event) => event['service'] === 'revoke_elsewhere'),
    );
    expect(await stage.sidecar.metric('waybill_revocations_total{cause="token_rejected",outcome="unsupported"}')).toBe(
      1,
    );
    expect(strayed).toBe(0);
  });

  test('a token that cannot be checked, because there are no keys, is not used and goes back', async () => {
    const answer = await callTool('no_keys');
    expect([answer.status, answer.code]).toEqual([503, 'token_service_unavailable']);
    await eventually('the token goes back', () => services['no_keys']?.revoked.length === 1);
    expect(services['no_keys']?.revoked).toEqual(services['no_keys']?.issued);
  });
});

describe('W5: a service that is asked what it issued is held to its own word', () => {
  const honest = ['opaque', undefined] as const;
  test.for(honest)('honest, with a token that is %s', async (lie) => {
    const service = services['asked'];
    if (service === undefined) throw new Error('no service');
    service.lie = lie;
    expect((await callTool('asked')).status).toBe(200);
    expect(service.counts.introspect).toBeGreaterThan(0);
  });

  const lies = [
    'inactive',
    'other_audience',
    'extra_audience',
    'other_sub',
    'missing_sub',
    'wider_token_scope',
    'wider_scp',
    'longer_life',
    'expired',
    'not_yet',
    'other_issuer',
    'other_cnf',
    'token_details',
    'act_text',
  ];
  test.for(lies)('%s', async (lie) => {
    const service = services['asked'];
    if (service === undefined) throw new Error('no service');
    service.lie = lie;
    const before = tool.seen.length;
    const answer = await callTool('asked');
    expect([answer.status, answer.code, tool.seen.length]).toEqual([502, 'token_rejected', before]);
    await eventually('the token goes back', () => service.revoked.includes(service.issued.at(-1) ?? ''));
  });
});

test('W3: none of it reached a tool', () => {
  const misled = Object.keys(options)
    .filter((name) => name !== 'asked')
    .map((name) => `${name.replace('_', '-')}.test`);
  expect(tool.seen.filter(({ headers }) => misled.includes(headers.host ?? ''))).toEqual([]);
});
