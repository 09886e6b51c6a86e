import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, eventsOfCalls, expectRefused, type TriedCall } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let task: StagedTask;
let before: readonly number[];

const touched = (): readonly number[] => [tool.seen.length, tool.connections(), stage.service.counts.token];

beforeAll(async () => {
  tool = await openEchoTool();
  const { port } = tool;
  const at = (match: object, more: object = {}) => ({ port, more: { match, ...more } });
  stage = await openStage({
    tools: {
      crm: at({ host: 'crm.test', port: 80, methods: ['GET', 'POST'], paths: ['/api/**', '/status'] }),
      docs: { ...at({ host: '*.docs.test' }), token: false },
      loose: { ...at({ host: 'loose.test' }), token: false },
      closed: at({ host: 'closed.test' }),
      vault: at({ host: 'vault.test' }),
    },
    sections: {
      rules: [
        {
          name: 'open',
          effect: 'allow',
          when: 'call.tool in ["crm", "docs", "vault"] && (task.purpose == "reconcile" || call.tool == "docs")',
        },
        { name: 'secrets', effect: 'deny', when: 'call.path.startsWith("/api/secret")' },
        {
          name: 'four-eyes',
          effect: 'require-approval',
          when: 'call.path.startsWith("/api/pay") || call.path.startsWith("/api/secret/pay")',
        },
        { name: 'watched', effect: 'deny', mode: 'observe', when: 'call.path == "/api/watched"' },
        {
          name: 'faulty',
          effect: 'deny',
          when: 'call.path.startsWith("/api/faulty") && call.path.split("/")[7] == "x"',
        },
        { name: 'hopeful', effect: 'allow', when: 'call.tool == "closed" && call.path.split("/")[7] == "x"' },
      ],
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});
beforeEach(() => {
  before = touched();
});

const outbound = (): string => stage.sidecar.addresses.outbound;

async function tryUrl(url: string, method = 'GET'): Promise<TriedCall> {
  return { what: `${method} ${url}`, answer: await callThrough(outbound(), url, { method, handle: task.handle }) };
}

async function tryBytes(what: string, bytes: Buffer): Promise<TriedCall> {
  return { what, answer: await exchangeRaw(outbound(), bytes) };
}

describe('W9: a destination that the configuration does not list is refused', () => {
  test('other hosts, ports, methods and paths, however near', async () => {
    const urls = [
      'http://crm.test:8080/api/x',
      'https://crm.test/api/x',
      'http://xcrm.test/api/x',
      'http://www.crm.test/api/x',
      'http://crm.test.evil.test/api/x',
      'http://crm/api/x',
      'http://crm.tes/api/x',
      'http://crm.test/',
      'http://crm.test/apix',
      'http://crm.test/status/x',
      'http://crm.test/API/x',
      'http://docs.test/',
      'http://xdocs.test/',
      'http://a.docs.test.evil.test/',
      'http://127.0.0.1/',
      'http://[::1]/',
      'http://localhost/',
      'http://waybill.local/v1/tasks',
      'http://169.254.169.254/latest/meta-data/',
      'http://xn--crm-test.test/',
    ];
    const tried = await Promise.all([
      ...urls.map((url) => tryUrl(url)),
      ...['DELETE', 'PUT', 'HEAD2', 'OPTIONS', 'PATCH']
        .filter((method) => method !== 'HEAD2')
        .map((method) => tryUrl('http://crm.test/api/x', method)),
    ]);
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'destination_unlisted');
    const connects = [
      'evil.test:443',
      'crm.test:443',
      'crm.test:8080',
      'docs.test:443',
      '127.0.0.1:22',
      '[::1]:80',
      'localhost:80',
    ];
    const refused = await Promise.all(
      connects.map((target) => tryBytes(target, requestBytes('CONNECT', target, { Host: target }))),
    );
    await expectRefused(stage.sidecar.eventsFile, refused, 403, 'destination_unlisted');
    expect(touched()).toEqual(before);
  });

  test('mounts that are none', async () => {
    const paths = [
      '/',
      '/tools',
      '/tools/',
      '/tools/none/x',
      '/tools/docs/x',
      '/tools/CRM/api/x',
      '/tools/crm',
      '/tools/crm/',
      '/tools/__proto__/x',
      '/tools/crm%2fapi/x',
      '/v1/tasks',
      '/metrics',
      '/.well-known/x',
      '/x/tools/crm/api/x',
    ];
    const tried = await Promise.all(
      paths.map((path) => tryBytes(path, requestBytes('GET', path, { Host: outbound(), 'x-api-key': task.handle }))),
    );
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'destination_unlisted');
    expect(touched()).toEqual(before);
  });

  test('while what is listed passes', async () => {
    for (const url of [
      'http://crm.test/api/x',
      'http://crm.test/api',
      'http://crm.test/status',
      'http://a.docs.test/x',
      'http://a.b.docs.test/',
      'http://vault.test:8080/x',
    ]) {
      expect([url, (await tryUrl(url)).answer.status]).toEqual([url, 200]);
    }
  });
});

describe('W9: a call that no rule allows is denied, before any exchange', () => {
  async function expectDenied(tried: readonly TriedCall[], code: string, rule: string): Promise<void> {
    await expectRefused(stage.sidecar.eventsFile, tried, 403, code);
    const events = await eventsOfCalls(stage.sidecar.eventsFile, tried);
    expect(events.flat().map(({ decision }) => (decision as { rule: string }).rule)).toEqual(tried.map(() => rule));
    expect(touched()).toEqual(before);
  }

  test('by default: a tool that no rule names, with or without credential', async () => {
    await expectDenied(
      [await tryUrl('http://closed.test/x'), await tryUrl('http://loose.test/x'), await tryUrl('https://loose.test/')],
      'denied_by_rule',
      'default',
    );
    const without: RawAnswer = await callThrough(outbound(), 'http://loose.test/x', {});
    await expectDenied([{ what: 'without a task', answer: without }], 'denied_by_rule', 'default');
  });

  test('by a deny, whatever else allows or asks', async () => {
    const tunnel = await callInTunnel(
      outbound(),
      'crm.test:80',
      { handle: task.handle },
      { url: '/api/secret', headers: { Host: 'crm.test' } },
    );
    const mount = await tryBytes(
      'mount',
      requestBytes('GET', '/tools/crm/api/secret', { Host: outbound(), 'x-api-key': task.handle }),
    );
    const tried = [
      await tryUrl('http://crm.test/api/secret'),
      await tryUrl('http://crm.test/api/%73ecret/x'),
      await tryUrl('http://crm.test/api/secret/pay?x=1'),
      { what: 'tunnel', answer: tunnel },
      mount,
    ];
    await expectDenied(tried, 'denied_by_rule', 'secrets');
    expect(tried.every(({ answer }) => answer.body.includes('secrets'))).toBe(true);
  });

  test('by a requirement that nobody here can fulfil', async () => {
    await expectDenied(
      [await tryUrl('http://crm.test/api/pay'), await tryUrl('http://crm.test/api/pay/1', 'POST')],
      'approval_required',
      'four-eyes',
    );
  });

  test('by a deny that fails; an allow that fails allows nothing', async () => {
    await expectDenied([await tryUrl('http://crm.test/api/faulty')], 'denied_by_rule', 'faulty');
    await expectDenied([await tryUrl('http://closed.test/short')], 'denied_by_rule', 'default');
  });

  test('a rule that only observes lets pass, and is told', async () => {
    expect((await tryUrl('http://crm.test/api/watched')).answer.status).toBe(200);
    const admitted = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.admitted');
    expect(admitted?.['decision']).toMatchObject({ rule: 'open', effect: 'allow', observed: [{ rule: 'watched' }] });
    expect(await stage.sidecar.metric('waybill_decisions_total{decision="deny",rule="watched",mode="observe"}')).toBe(
      1,
    );
  });

  test('a purpose that no rule names', async () => {
    const other = await stage.task('alice', { purpose: 'holiday' });
    const answer = await callThrough(outbound(), 'http://crm.test/api/x', { handle: other.handle });
    await expectDenied([{ what: 'purpose', answer }], 'denied_by_rule', 'default');
  });
});

test('W9: a hundred destinations that the agent makes up add no series to the metrics', async () => {
  const series = async (): Promise<number> =>
    (await stage.sidecar.metrics()).split('\n').filter((line) => !line.startsWith('#')).length;
  const count = await series();
  await Promise.all(Array.from({ length: 100 }, (_, at) => tryUrl(`http://made-up-${at}.test/${at}`)));
  expect(await series()).toBe(count);
});
