import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';
import { type ChoosingTools, openChoosingTools, wellKnown } from '../stage/choosing-tool.ts';
import { document, lieAbout, metadataLies } from '../stage/metadata-lies.ts';
import { callThrough, exchangeOn, openTunnel, type RawAnswer, requestBytes } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tools: ChoosingTools;
let secure: ChoosingTools;
let stage: Stage;
let partner: FakeTokenService;
/** A token service that no configuration names. */
let foreign: FakeTokenService;
let task: StagedTask;
const secret = 'stage-client-secret-0123456789abcdef';
const resource = (name: string): string => `http://${name}.test/mcp`;

const strayPlaces = ['another host', 'another port', 'another scheme', 'a name of a user'].map(
  (what, at) => [what, `stray${at}`] as const,
);
const lieNames = metadataLies.map((what, at) => [what, `lie${at}`] as const);

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-stage-'));
  const secretFile = join(dir, 'partner-secret');
  writeFileSync(secretFile, secret);
  const certificate = await makeToolCertificate('secure.test');
  [tools, secure] = await Promise.all([openChoosingTools(), openChoosingTools(certificate)]);
  [partner, foreign] = await Promise.all([openFakeTokenService({ secret }), openFakeTokenService({ secret })]);
  const names = [
    'plain',
    'both',
    'root',
    'asks',
    'silent',
    'flaky',
    ...[...lieNames, ...strayPlaces].map(([, name]) => name),
  ];
  const at = (name: string, more: Record<string, unknown> = {}): [string, { port: number; more: object }] => {
    const token = { from: ['corp', 'partner'], resource: resource(name), ...more };
    return [name, { port: tools.port, more: { token } }];
  };
  stage = await openStage({
    dir,
    tools: {
      ...Object.fromEntries(names.map((name) => at(name))),
      ...Object.fromEntries([
        at('single', { from: 'corp' }),
        at('single-list', { from: ['partner'] }),
        at('nameless', { resource: undefined, audience: 'nameless' }),
      ]),
      secure: {
        port: secure.port,
        ca: certificate.ca,
        more: { token: { from: ['corp', 'partner'], resource: 'https://secure.test' } },
      },
    },
    services: {
      partner: {
        issuer: partner.issuer,
        client_auth: 'client_secret_basic',
        client_id: 'invoice-bot',
        client_secret_file: secretFile,
      },
    },
    service: { secret },
  });
  task = await stage.task();
});
afterAll(async () => {
  // Whatever the tools said: nobody outside the configuration was asked for anything.
  expect(foreign.counts).toEqual({ metadata: 0, jwks: 0, token: 0, introspect: 0, revoke: 0 });
  await stage.close();
  await Promise.all([tools.close(), secure.close(), partner.close(), foreign.close()]);
});

function call(name: string, path = '/mcp'): Promise<RawAnswer> {
  return callThrough(stage.sidecar.addresses.outbound, `http://${name}.test${path}`, { handle: task.handle });
}

/** Issuer of the token that a tool got last. */
function issuerAt(tool: ChoosingTools): unknown {
  return decodeJwt(String(tool.seen.at(-1)?.headers.authorization).split(' ')[1] ?? '').iss;
}

describe('a tool that takes tokens of several services', () => {
  test('gets one of the service that it names, and is asked once, without credential', async () => {
    tools.places.set(`plain.test ${wellKnown}/mcp`, document('plain.test', [foreign.issuer, partner.issuer]));
    expect((await call('plain')).status).toBe(200);
    expect(issuerAt(tools)).toBe(partner.issuer);
    expect((await call('plain', '/mcp/more')).status).toBe(200);
    expect(tools.asked('plain.test')).toEqual([
      `GET ${wellKnown}/mcp`,
      'GET /mcp credential',
      'GET /mcp/more credential',
    ]);
  });

  test('that names two of them gets one of the service that the configuration names first', async () => {
    tools.places.set(`both.test ${wellKnown}/mcp`, document('both.test', [partner.issuer, stage.service.issuer]));
    expect((await call('both')).status).toBe(200);
    expect(issuerAt(tools)).toBe(stage.service.issuer);
  });

  test('may say so for its whole origin', async () => {
    tools.places.set(`root.test ${wellKnown}`, {
      document: { resource: 'http://root.test/', authorization_servers: [partner.issuer] },
    });
    expect((await call('root')).status).toBe(200);
    expect(issuerAt(tools)).toBe(partner.issuer);
    expect(tools.asked('root.test').slice(0, 2)).toEqual([`GET ${wellKnown}/mcp`, `GET ${wellKnown}`]);
    tools.places.set(`nameless.test ${wellKnown}`, {
      document: { resource: 'http://nameless.test', authorization_servers: [partner.issuer] },
    });
    expect((await call('nameless')).status).toBe(200);
    expect(issuerAt(tools)).toBe(partner.issuer);
  });

  test('may say where to read it, in its challenge to a request without credential', async () => {
    const challenge = 'Bearer realm="x, y", error="invalid_token", resource_metadata="http://asks.test/meta?v=1"';
    tools.places.set('asks.test HEAD', { status: 401, headers: { 'www-authenticate': challenge } });
    tools.places.set('asks.test /meta?v=1', document('asks.test', [partner.issuer]));
    expect((await call('asks')).status).toBe(200);
    expect(issuerAt(tools)).toBe(partner.issuer);
    const [, , head, read] = tools.asked('asks.test');
    expect([head, read]).toEqual(['HEAD /mcp', 'GET /meta?v=1']);
  });

  test('is asked over its own TLS', async () => {
    secure.places.set(`secure.test ${wellKnown}`, {
      document: { resource: 'https://secure.test', authorization_servers: [partner.issuer] },
    });
    const ca = readFileSync(stage.sidecar.caFile, 'utf8');
    const { outbound } = stage.sidecar.addresses;
    const tls = { ca, serverName: 'secure.test' };
    const tunnel = await openTunnel(outbound, 'secure.test:443', { handle: task.handle, tls });
    const answer = await exchangeOn(tunnel, requestBytes('GET', '/', { Host: 'secure.test' }));
    tunnel.destroy();
    expect(answer.status).toBe(200);
    expect(issuerAt(secure)).toBe(partner.issuer);
  });
});

test('a tool with one service is not asked', async () => {
  for (const [name, service] of [
    ['single', stage.service],
    ['single-list', partner],
  ] as const) {
    expect((await call(name)).status).toBe(200);
    expect(tools.asked(`${name}.test`)).toEqual(['GET /mcp credential']);
    expect(issuerAt(tools)).toBe(service.issuer);
  }
});

describe('W5: nothing is asked for, and nothing is sent, where the metadata of a tool', () => {
  test.for(lieNames)('%s', async ([what, name]) => {
    const place = lieAbout(what, `${name}.test`, {
      corp: stage.service.issuer,
      partner: partner.issuer,
      foreign: foreign.issuer,
    });
    tools.places.set(`${name}.test ${wellKnown}/mcp`, place);
    if ('status' in Object(place)) tools.places.set(`${name}.test HEAD`, { status: 401 });
    const before = [stage.service.counts.token, partner.counts.token];
    const answer = await call(name);
    expect([answer.status, answer.code]).toEqual([403, 'exchange_refused']);
    expect(answer.body).not.toContain('127.0.0.1');
    expect([stage.service.counts.token, partner.counts.token]).toEqual(before);
    expect(tools.asked(`${name}.test`).filter((line) => line.includes('credential'))).toEqual([]);
    // It is not asked again for each call.
    const asked = tools.asked(`${name}.test`).length;
    expect((await call(name)).code).toBe('exchange_refused');
    expect(tools.asked(`${name}.test`).length).toBe(asked);
  });

  test.for(strayPlaces)('is said to be at %s', async ([what, name]) => {
    const places: Record<string, string> = {
      'another host': `${foreign.issuer}/meta`,
      'another port': `http://${name}.test:81/meta`,
      'another scheme': `https://${name}.test/meta`,
      'a name of a user': `http://me@${name}.test/meta`,
    };
    const headers = { 'www-authenticate': `Bearer resource_metadata="${places[what]}"` };
    tools.places.set(`${name}.test HEAD`, { status: 401, headers });
    const answer = await call(name);
    expect([answer.status, answer.code]).toEqual([403, 'exchange_refused']);
    expect(tools.asked(`${name}.test`)).toEqual([`GET ${wellKnown}/mcp`, `GET ${wellKnown}`, 'HEAD /mcp']);
  });
});

test('a tool that gives no answer holds its own calls only, and not for long', async () => {
  tools.places.set(`silent.test ${wellKnown}/mcp`, 'slow');
  const startedAt = performance.now();
  const silent = call('silent');
  const first = await Promise.race([silent, call('single')]);
  expect(first.status).toBe(200);
  const answer = await silent;
  expect([answer.status, answer.code]).toEqual([502, 'upstream_unreachable']);
  expect(performance.now() - startedAt).toBeLessThan(6000);
});

test('the log of the process says which service a tool wanted, and shows nothing that could be a token', async () => {
  const lines = stage.sidecar
    .output()
    .split('\n')
    .filter((line) => line.includes('no token service that is configured'));
  expect(lines.some((line) => line.includes(`"wanted":["${foreign.issuer}"]`))).toBe(true);
  // A tool that has seen a token names it as a server, spelled as hosts are.
  const seen = Buffer.from(String(tools.seen.at(-1)?.headers.authorization).slice(-43))
    .toString('hex')
    .slice(0, 40);
  tools.places.set(
    `flaky.test ${wellKnown}/mcp`,
    document('flaky.test', [`https://${seen}.example`, `https://a/${seen}`]),
  );
  expect((await call('flaky')).code).toBe('exchange_refused');
  expect(stage.sidecar.output()).toContain('"tool":"flaky"');
  expect(stage.sidecar.output()).not.toContain(seen.slice(0, 16));
});
