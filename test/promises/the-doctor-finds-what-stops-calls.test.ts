import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openTlsTokenService } from '../fakes/tls-token-service.ts';
import { killRemaining } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { freePort } from '../stage/free-port.ts';
import { openPapers, openSilence, type Papers } from '../stage/issuer-papers.ts';
import { clientSecret, listFound, Surgery, toolAt } from '../stage/surgery.ts';
import { makeToolCertificate, type ToolCertificate } from '../stage/tool-certificate.ts';

let surgery: Surgery;
let tool: EchoTool;
let secure: EchoTool;
let certificate: ToolCertificate;
let silence: Awaited<ReturnType<typeof openSilence>>;
let papers: Papers;

beforeAll(async () => {
  certificate = await makeToolCertificate('secure.test', 'localhost');
  [tool, secure, silence] = await Promise.all([openEchoTool(), openEchoTool({ tls: certificate }), openSilence()]);
  papers = await openPapers({
    good: { metadata: { grant_types_supported: ['urn:ietf:params:oauth:grant-type:token-exchange'] } },
    foreign: { metadata: { issuer: 'https://elsewhere.example.org' } },
    scattered: { metadata: { token_endpoint: 'https://elsewhere.example.org/token' } },
    keyless: { keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'k' }] },
    early: { ahead: 120 },
    narrow: { metadata: { grant_types_supported: ['authorization_code'], revocation_endpoint: undefined } },
  });
});
afterAll(async () => {
  await Promise.all([tool, secure, silence, papers].map((one) => one?.close()));
});
beforeEach(async () => {
  surgery = await Surgery.open();
});
afterEach(async () => {
  killRemaining();
  await surgery.close();
});

const tls = { host: 'secure.test', port: 443 };

describe('the doctor finds what stops calls', () => {
  test('at who signs tokens: a CA that nobody named, another issuer, keys that are elsewhere', async () => {
    const server = await openTlsTokenService({ tls: { ...certificate, clientCa: [] } });
    writeFileSync(surgery.path('ca.pem'), certificate.ca);
    surgery.dns.names['localhost'] = ['127.0.0.1'];
    try {
      const corp = surgery.service(server.issuer);
      const trusting = { ...corp, tls: { ca: surgery.path('ca.pem') } };
      const issuers = ['foreign', 'good', 'nobody'].map((name) => ({ issuer: papers.issuer(name), audience: 'bot' }));
      const keys = { issuer: 'https://idp.example.org', audience: 'bot', jwks_uri: `${papers.issuer('keyless')}/jwks` };
      for (const [settings, failed] of [
        [corp, [expect.stringMatching(/^service corp: .*no authority that is trusted vouches for its certificate/)]],
        [trusting, []],
      ] as const) {
        const file = surgery.write({ token_services: { corp: settings }, trust: { issuers: [...issuers, keys] } });
        const { findings, code } = await surgery.ask(file);
        expect(listFound(findings, 'failed')).toEqual([
          ...failed,
          expect.stringMatching(/^issuer .*foreign: its metadata names the issuer/),
          expect.stringMatching(/^issuer .*nobody: it has no metadata/),
          expect.stringMatching(/^issuer https:\/\/idp.example.org: none of its keys at .* can be used$/),
        ]);
        expect([code, server.posts]).toEqual([1, []]);
      }
    } finally {
      await server.close();
    }
  });

  test('at token services: one that is down, another one, one that is scattered, without keys, out of time', async () => {
    const down = await freePort();
    const names = ['good', 'foreign', 'scattered', 'keyless', 'early', 'narrow', 'nobody'];
    const services = Object.fromEntries(names.map((name) => [name, surgery.service(papers.issuer(name))]));
    const tools = { crm: toolAt(tool.port, { token: { from: 'narrow', audience: 'crm' } }) };
    const silent = surgery.service(`http://127.0.0.1:${silence.port}`);
    const file = surgery.write({
      tools,
      token_services: {
        ...services,
        down: surgery.service(`http://127.0.0.1:${down}`),
        silent,
        nameless: surgery.service('https://no.test'),
      },
    });
    const answer = await surgery.ask(file);
    const failed = listFound(answer.findings, 'failed');
    expect(failed).toEqual([
      expect.stringMatching(
        /^service foreign: its metadata names the issuer "https:\/\/elsewhere.example.org", and not http/,
      ),
      'service scattered: its token endpoint is missing, or on another origin than its issuer',
      expect.stringMatching(/^service keyless: none of its keys at http.*\/keyless\/jwks can be used$/),
      expect.stringMatching(/^service early: its clock is (?:119|120|121) s ahead of ours/),
      expect.stringMatching(/^service nobody: it has no metadata \(404 at/),
      expect.stringMatching(
        new RegExp(`^service down: 127.0.0.1 at 127.0.0.1:${down}: no connection \\(ECONNREFUSED\\)$`),
      ),
      'service silent: its metadata cannot be fetched (timeout)',
      'service nameless: no.test has no address',
    ]);
    expect(listFound(answer.findings, 'warning', 'service')).toEqual([
      expect.stringMatching(/^service narrow: it has no revocation endpoint/),
      'service narrow: its grant_types_supported does not list urn:ietf:params:oauth:grant-type:token-exchange',
    ]);
    expect([answer.code, answer.ok, papers.others]).toEqual([1, false, []]);
    for (const { state, advice } of answer.findings)
      expect([state, advice !== undefined]).toEqual([state, /w|f/.test(state[0]!)]);
  });

  test('at tools: no address, a forbidden one, nobody there, no TLS, a CA that nobody named, another name, silence', async () => {
    Object.assign(surgery.dns.names, {
      'meta.test': ['169.254.169.254'],
      'inside.test': ['10.0.0.1'],
      'slow.test': 'silence',
    });
    const closed = await freePort();
    writeFileSync(surgery.path('ca.pem'), certificate.ca);
    const ca = { ca: surgery.path('ca.pem') };
    const file = surgery.write({
      tools: {
        good: toolAt(secure.port, { match: tls, tls: ca }),
        untrusted: toolAt(secure.port, { match: { ...tls, paths: ['/a'] } }),
        misnamed: toolAt(secure.port, { match: { host: 'other.test', port: 443 }, tls: ca }),
        plain: toolAt(tool.port, { match: { host: 'plain.test', port: 443 } }),
        closed: toolAt(closed, {}, 'closed.test'),
        silent: toolAt(silence.port, { match: { host: 'silent.test', port: 443 } }),
        nameless: { match: { host: 'no.test' } },
        slow: { match: { host: 'slow.test' } },
        meta: { match: { host: 'meta.test' }, addresses: 'private' },
        inside: { match: { host: 'inside.test' } },
        many: { match: { host: '*.many.test' } },
      },
    });
    const started = performance.now();
    const answer = await surgery.ask(file);
    expect(performance.now() - started).toBeLessThan(12_000);
    expect(listFound(answer.findings, 'failed')).toEqual([
      expect.stringMatching(
        /^tool untrusted: secure.test at .*no authority that is trusted vouches for its certificate/,
      ),
      expect.stringMatching(/^tool misnamed: other.test at .*its certificate is for another name$/),
      expect.stringMatching(/^tool plain: .*what answers speaks no TLS$/),
      expect.stringMatching(/^tool closed: .*no connection \(ECONNREFUSED\)$/),
      expect.stringMatching(/^tool silent: .*no answer within 3 s$/),
      'tool nameless: no.test has no address',
      expect.stringMatching(/^tool slow: slow.test/),
      'tool meta: meta.test resolves to an address that it may not have (private would be good)',
      'tool inside: inside.test resolves to an address that it may not have (public would be good)',
    ]);
    const untrusted = answer.findings.find(({ subject, state }) => subject === 'untrusted' && state === 'failed');
    expect(untrusted?.advice).toContain('tools.untrusted.tls.ca');
    expect([answer.code, listFound(answer.findings, 'info', 'tool').length]).toEqual([1, 1]);
    expect(listFound(answer.findings, 'ok', 'tool')).toEqual([expect.stringMatching(/^tool good: /)]);
  });

  test('in files and identity: a record that cannot be written, what is not there or is for all eyes, a socket of nobody', async () => {
    writeFileSync(surgery.path('file'), 'x');
    mkdirSync(surgery.path('ca'));
    writeFileSync(surgery.path('ca/ca.key'), 'key', { mode: 0o644 });
    const corp = { ...surgery.service(papers.issuer('good')), tls: { ca: surgery.path('no-ca.pem') } };
    writeFileSync(surgery.path('open-secret'), clientSecret, { mode: 0o644 });
    const file = surgery.write({
      record: { file: surgery.path('file/events.jsonl') },
      operator: { socket: surgery.path('operator.sock'), revocations: surgery.folder },
      identity: { workload_api: `unix://${surgery.folder}/agent.sock` },
      trust: { domains: { 'example.org': 'workload_api' } },
      token_services: {
        corp,
        second: { ...surgery.service(papers.issuer('good')), client_secret_file: surgery.path('open-secret') },
      },
      tools: { crm: toolAt(tool.port, { tls: { client: 'svid' }, match: { ...tls, host: 'crm.test' } }) },
    });
    const answer = await surgery.ask(file);
    expect(answer.code).toBe(1);
    const failed = listFound(answer.findings, 'failed');
    const wanted = [
      /^files : record: .*file\/events.jsonl cannot be written \(ENOTDIR\)$/,
      /^files : cut-offs of the kill switch: .* is a folder$/,
      /^files : token_services.corp.tls.ca: .*no-ca.pem cannot be read \(ENOENT\)$/,
      /^identity : no SVID from the Workload API \(.*unavailable/,
      /^tool crm: our SVID is needed for its TLS, and is not there$/,
    ];
    for (const text of wanted) expect(failed).toContainEqual(expect.stringMatching(text));
    const warned = listFound(answer.findings, 'warning', 'files');
    expect(warned).toEqual([
      expect.stringMatching(/key of the CA: other users may open/),
      expect.stringMatching(/token_services.second.client_secret_file: every user may read/),
    ]);
    expect(answer.stdout).not.toContain(clientSecret);
    expect(existsSync(surgery.path('trust'))).toBe(false);
  });

  test('at ports that another program has, while none of ours answers', async () => {
    const tools = { crm: toolAt(tool.port) };
    const listen = { outbound: `127.0.0.1:${tool.port}`, metrics: `0.0.0.0:${secure.port}` };
    const taken = surgery.write({ tools, listen: { ...listen, health: `127.0.0.1:${await freePort()}` } });
    expect(listFound((await surgery.ask(taken)).findings, 'warning', 'ports').toSorted()).toEqual([
      `ports : listen.metrics: something listens on port ${secure.port} already`,
      `ports : listen.outbound: something listens on port ${tool.port} already`,
    ]);
    const free = surgery.write({
      tools,
      listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
    });
    expect(listFound((await surgery.ask(free)).findings, 'warning', 'ports')).toEqual([]);
  });
});
