import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { killRemaining, runWaybill } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { openPapers, type Papers } from '../stage/issuer-papers.ts';
import { callThrough } from '../stage/raw-call.ts';
import { listFound, Surgery, toolAt } from '../stage/surgery.ts';
import { makeToolCertificate, type ToolCertificate } from '../stage/tool-certificate.ts';
import { openStage } from '../stage/way-out-stage.ts';

let surgery: Surgery;
let tool: EchoTool;
let secure: EchoTool;
let certificate: ToolCertificate;
let papers: Papers;

beforeAll(async () => {
  certificate = await makeToolCertificate('secure.test');
  [tool, secure] = await Promise.all([openEchoTool(), openEchoTool({ tls: certificate })]);
  papers = await openPapers({
    good: { metadata: { grant_types_supported: ['urn:ietf:params:oauth:grant-type:token-exchange'] } },
  });
});
afterAll(async () => {
  await Promise.all([tool, secure, papers].map((one) => one?.close()));
});
beforeEach(async () => {
  surgery = await Surgery.open();
});
afterEach(async () => {
  killRemaining();
  await surgery.close();
});

const tls = { host: 'secure.test', port: 443 };

describe('the doctor finds a sidecar that is well', () => {
  test('which runs, with nothing that would stop a call; it is quick, tells no secret and sends none', async () => {
    const stage = await openStage({ tools: { crm: { port: tool.port }, ledger: { port: tool.port } } });
    try {
      const config = join(stage.dir, 'waybill.yaml');
      const seen = tool.seen.length;
      const before = readFileSync(stage.sidecar.eventsFile);
      const started = performance.now();
      const answer = await surgery.ask(config, {}, '--running');
      expect(listFound(answer.findings, 'failed')).toEqual([]);
      expect([answer.code, answer.ok]).toEqual([0, true]);
      expect(performance.now() - started).toBeLessThan(10_000);
      expect(listFound(answer.findings, 'ok', 'sidecar')).toEqual([
        expect.stringMatching(new RegExp(`it runs this configuration .*pid ${stage.sidecar.pid}`)),
      ]);
      for (const check of ['node', 'config', 'files', 'service', 'tool', 'binding'])
        expect([check, listFound(answer.findings, 'ok', check).length > 0]).toEqual([check, true]);
      const shown = await runWaybill(['doctor', '--config', config], surgery.options);
      expect(shown.stdout).toMatch(
        /^ok +service corp +its clock agrees with ours$[\s\S]*^0 failed, \d+ warnings, \d+ ok$/m,
      );
      for (const text of [answer.stdout, shown.stdout, answer.stderr, shown.stderr])
        expect(text).not.toContain(stage.clientSecret);
      expect([tool.seen.length, stage.service.counts.token]).toEqual([seen, 0]);
      expect(readFileSync(stage.sidecar.eventsFile)).toEqual(before);
      // What was changed since the start, and takes effect at a start only, is told.
      writeFileSync(config, `${readFileSync(config, 'utf8')}\nreplay: { window: 50s }\n`);
      expect(listFound((await surgery.ask(config)).findings, 'warning', 'sidecar')[0]).toContain(
        'it runs another configuration',
      );
    } finally {
      await stage.close();
    }
  });

  test('or would start: nothing is made for it, and --running says that none runs', async () => {
    const file = surgery.write({
      token_services: { corp: surgery.service(papers.issuer('good')) },
      tools: {
        crm: toolAt(tool.port, { token: { from: 'corp', audience: 'crm' } }),
        secure: toolAt(secure.port, { match: tls, tls: { ca: surgery.path('ca.pem') } }),
      },
    });
    writeFileSync(surgery.path('ca.pem'), certificate.ca);
    const answer = await surgery.ask(file);
    expect([listFound(answer.findings, 'failed'), answer.code]).toEqual([[], 0]);
    expect(listFound(answer.findings, 'ok', 'tool')).toEqual([
      `tool crm: crm.test at 127.0.0.1:${tool.port} takes connections, called over plain http`,
      `tool secure: secure.test at 127.0.0.1:${secure.port} takes connections, with a certificate that is trusted (TLSv1.3)`,
    ]);
    expect(listFound(answer.findings, 'ok', 'service')).toContain(
      'service corp: it lists urn:ietf:params:oauth:grant-type:token-exchange',
    );
    expect((await surgery.ask(file, {}, '--running')).code).toBe(69);
    expect(readdirSync(surgery.folder).toSorted()).toEqual(['ca.pem', 'secret', 'waybill.yaml']);
  });
});

describe('the doctor looks', () => {
  test('in the environment of an agent: proxy, list of exceptions, trust; and shows no handle', async () => {
    mkdirSync(surgery.path('trust'));
    writeFileSync(surgery.path('trust/ca.pem'), certificate.ca);
    writeFileSync(surgery.path('bundle.pem'), `others\n${certificate.ca}`);
    writeFileSync(surgery.path('old.pem'), 'an older one');
    const file = surgery.write({
      tools: { crm: toolAt(tool.port), ledger: toolAt(tool.port, {}, 'ledger.corp.test') },
    });
    const handle = `wbh_${'A'.repeat(51)}`;
    const env = {
      HTTP_PROXY: `http://task:${handle}@127.0.0.1:15001`,
      HTTPS_PROXY: 'http://127.0.0.1:3128',
      https_proxy: 'socks5://127.0.0.1:15001',
      NO_PROXY: 'localhost, .local,.corp.test',
      NODE_EXTRA_CA_CERTS: surgery.path('old.pem'),
      SSL_CERT_FILE: surgery.path('bundle.pem'),
      REQUESTS_CA_BUNDLE: surgery.path('none.pem'),
    };
    const answer = await surgery.ask(file, env);
    expect(listFound(answer.findings, 'failed')).toEqual([
      'environment : HTTPS_PROXY leads to port 3128, and the way out listens on 15001',
      'environment : https_proxy is no http URL',
      'environment : NO_PROXY lets calls to tool ledger (ledger.corp.test) go past the sidecar',
      'environment : NODE_EXTRA_CA_CERTS names a file without the CA of the sidecar',
      'environment : REQUESTS_CA_BUNDLE names a file that cannot be read (ENOENT)',
    ]);
    const warned = listFound(answer.findings, 'warning', 'environment').join('\n');
    for (const text of [
      'http_proxy is not set',
      'NO_PROXY holds .local',
      'CURL_CA_BUNDLE is not set',
      'NODE_USE_ENV_PROXY',
    ])
      expect(warned).toContain(text);
    expect(listFound(answer.findings, 'ok', 'environment')).toEqual([
      'environment : HTTP_PROXY leads to the way out, with a task handle',
      'environment : no_proxy lets no tool go past the sidecar',
      'environment : SSL_CERT_FILE names a file with the CA of the sidecar',
    ]);
    expect([answer.code, answer.stdout.includes(handle)]).toEqual([1, false]);
  });

  test('in the configuration: all errors, and exit code 64', async () => {
    const answer = await surgery.ask(surgery.write({ tools: { crm: { match: {} } }, agent: { nme: 'x' } }));
    expect([answer.code, answer.ok]).toEqual([64, false]);
    expect(listFound(answer.findings, 'failed').length).toBeGreaterThan(2);
    expect((await runWaybill(['doctor', '--what'], surgery.options)).code).toBe(64);
    expect((await runWaybill(['doctor'], surgery.options)).code).toBe(64);
  });

  test('at the identity: the SVID, the bundles, and a token for the service that wants one', async () => {
    const api = await openWorkloadApiServer({
      socketPath: surgery.path('agent.sock'),
      authority: await openAuthority('example.org'),
      spiffeId: 'spiffe://example.org/agent',
      x509TtlSeconds: 600,
      jwtTtlSeconds: 60,
    });
    try {
      // All its keys were taken back; but for its bundle, the domain would be trusted.
      writeFileSync(surgery.path('empty.json'), '{"keys":[]}');
      const empty = { bundle_file: surgery.path('empty.json') };
      const file = surgery.write({
        identity: { workload_api: `unix://${surgery.path('agent.sock')}` },
        trust: { domains: { 'example.org': 'workload_api', 'other.org': 'workload_api', 'empty.org': empty } },
        token_services: { corp: { issuer: papers.issuer('good'), client_auth: 'spiffe_jwt' } },
      });
      const { findings, code } = await surgery.ask(file);
      expect(listFound(findings, 'ok', 'identity')).toEqual([
        expect.stringMatching(/^identity : spiffe:\/\/example.org\/agent, until /),
        'identity : the bundle of example.org is there',
        'identity : a JWT-SVID for corp is given',
      ]);
      const failed = [
        'identity : the bundle of empty.org is empty: all its keys were taken back',
        'identity : the bundle of other.org is not there',
      ];
      expect([listFound(findings, 'failed').toSorted(), code]).toEqual([failed, 1]);
    } finally {
      api.close();
    }
  });
});

test('the doctor names the rungs that a refused call is told of', async () => {
  const stage = await openStage({
    tools: { crm: { port: tool.port, more: { handle_header: 'X-Crm-Key' } }, free: { port: tool.port, token: false } },
    sections: { purposes: { reconcile: { tools: ['crm'] } } },
  });
  try {
    const refused = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x');
    const { hint } = JSON.parse(refused.body) as { hint: string };
    const told = listFound((await surgery.ask(join(stage.dir, 'waybill.yaml'))).findings, 'info', 'tasks');
    const places = ['as the password of the proxy URL', 'as Authorization: Bearer', 'as x-api-key', 'as x-crm-key'];
    for (const text of [...places, 'open a task with the token of its user']) {
      expect(hint).toContain(text);
      expect(told[0]).toContain(text);
    }
    for (const text of [hint, told[0]]) expect(text).not.toContain('traceparent');
    expect(told[1]).toBe('tasks free: calls need no task');
  } finally {
    await stage.close();
  }
});
