import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openTlsTokenService, type TlsTokenService } from '../fakes/tls-token-service.ts';
import { type EchoTool, openEchoTool } from '../stage/echo-tool.ts';
import { callThrough, exchangeRaw, requestBytes } from '../stage/raw-call.ts';
import { makeToolCertificate, type ToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** What stands in the file that `tls.ca` names; `public` names none, and shows that the public authorities vouch for all servers here. */
const contents = ['public', 'empty', 'newline', 'key', 'text', 'broken'] as const;
type Content = (typeof contents)[number];
const bad = contents.filter((content) => content !== 'public');

const dir = mkdtempSync(join(tmpdir(), 'waybill-ca-'));
const services = new Map<Content, TlsTokenService>();
let certificate: ToolCertificate;
let open: EchoTool;
const secure = new Map<Content, EchoTool>();
let stage: Stage;

const fileOf = (content: Content): string => join(dir, `${content}.pem`);
const trustOf = (content: Content) => (content === 'public' ? {} : { tls: { ca: fileOf(content) } });

beforeAll(async () => {
  certificate = await makeToolCertificate('localhost', 'secure.test');
  const [head = ''] = certificate.ca.split('\n');
  const texts = {
    public: certificate.ca,
    empty: '',
    newline: '\n',
    key: certificate.key,
    text: 'corp CA\n',
    broken: `${head}\nAAAA\n-----END CERTIFICATE-----\n`,
  };
  open = await openEchoTool();
  for (const content of contents) {
    writeFileSync(fileOf(content), texts[content]);
    services.set(content, await openTlsTokenService({ tls: { ...certificate, clientCa: [] } }));
    secure.set(content, await openEchoTool({ tls: certificate }));
  }
  const serviceFor = (content: Content): object => ({
    issuer: services.get(content)!.issuer,
    client_auth: 'client_secret_post',
    client_id: 'bot',
    client_secret_file: '/etc/hostname',
    ...trustOf(content),
  });
  const plainTool = (content: Content) => ({
    port: open.port,
    more: { token: { from: content, audience: content, scopes: ['x'] } },
  });
  const secureTool = (content: Content) => ({
    port: secure.get(content)!.port,
    more: { match: { host: 'secure.test', port: 443, paths: [`/${content}/**`] }, ...trustOf(content) },
  });
  stage = await openStage({
    tools: Object.fromEntries(
      contents.flatMap((content) => [
        [content, plainTool(content)],
        [`secure-${content}`, secureTool(content)],
      ]),
    ),
    services: Object.fromEntries(contents.map((content) => [content, serviceFor(content)])),
    start: { env: { ...process.env, NODE_EXTRA_CA_CERTS: fileOf('public') } },
  });
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([open, ...services.values(), ...secure.values()].map((one) => one?.close()));
});

/** A call whose token comes from the service with this file. */
async function callForToken(content: Content) {
  const { handle } = await stage.task();
  const { status, code } = await callThrough(stage.sidecar.addresses.outbound, `http://${content}.test/`, { handle });
  return [status, code];
}

/** A call of the https tool with this file. */
async function callSecurely(content: Content) {
  const { handle } = await stage.task();
  const { outbound } = stage.sidecar.addresses;
  const headers = { Host: outbound, Authorization: `Bearer ${handle}` };
  const target = `/tools/secure-${content}/${content}/x`;
  const { status, code } = await exchangeRaw(outbound, requestBytes('GET', target, headers));
  return [status, code];
}

const told = (what: string): string[] =>
  stage.sidecar
    .output()
    .split('\n')
    .filter((line) => line.includes('"NO_CERTIFICATE"') && line.includes(what));

describe('a file without a CA certificate trusts nobody (W1)', () => {
  test('the public authorities vouch for these servers where no file is named', async () => {
    expect(await callForToken('public')).toEqual([200, undefined]);
    expect(await callSecurely('public')).toEqual([200, undefined]);
  });

  test.for(bad)('%s: a token service gets no client secret and no token, and the log says why', async (content) => {
    const service = services.get(content)!;
    expect(await callForToken(content)).toEqual([503, 'token_service_unavailable']);
    expect([service.connections(), service.documents, service.posts]).toEqual([0, [], []]);
    await eventually('it is told', () => told(service.issuer).length > 0);
  });

  test.for(bad)('%s: a tool gets no request, and the log says why', async (content) => {
    const tool = secure.get(content)!;
    expect(await callSecurely(content)).toEqual([502, 'upstream_tls']);
    expect(tool.seen).toEqual([]);
    await eventually('it is told', () => told(`"secure-${content}"`).length > 0);
  });

  test('no line of the log holds what stands in such a file', () => {
    const [, line = ''] = certificate.key.split('\n');
    expect(stage.sidecar.output()).not.toContain(line.slice(0, 20));
    expect(stage.sidecar.output()).not.toContain('corp CA');
  });

  test('with the certificate in the file, the next connections are made', async () => {
    for (const content of ['empty', 'key'] as const) {
      writeFileSync(fileOf(content), `${certificate.key}\n# corp\n${certificate.ca}`);
      expect(await callSecurely(content)).toEqual([200, undefined]);
      // A service that gave nothing is left alone for a while.
      await eventually('the service is asked', async () => (await callForToken(content))[0] === 200, 15_000);
    }
  });
});
