import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { expectRefused } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let task: StagedTask;

beforeAll(async () => {
  tool = await openEchoTool();
  const { port } = tool;
  const at = (match: object, more: object = {}) => ({ port, more: { match: { host: 'api.test', ...match }, ...more } });
  stage = await openStage({
    tools: {
      wide: at({}),
      admin: at({ port: 80, paths: ['/admin/**'] }),
      writes: at({ methods: ['DELETE'], paths: ['/**'] }),
      reports: at({ port: 80, paths: ['/reports/**'] }),
      first: { port, more: { match: { host: 'two.test' } } },
      second: { port, more: { match: { host: 'two.test' } } },
      own: { port, more: { on_behalf_of: 'agent' } },
    },
    sections: {
      rules: [
        { name: 'not-these', effect: 'deny', when: 'call.tool in ["admin", "writes"]' },
        { name: 'all', effect: 'allow', when: 'true' },
      ],
      tasks: { standing: { purpose: 'keep fresh', tools: ['own'] } },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

const outbound = (): string => stage.sidecar.addresses.outbound;
const send = (method: string, url: string, headers: Record<string, string>): Promise<RawAnswer> =>
  exchangeRaw(outbound(), requestBytes(method, url, headers));
const byProxy = (method: string, path: string): Promise<RawAnswer> =>
  send(method, `http://api.test${path}`, { Host: 'api.test', 'x-api-key': task.handle });
const byMount = (name: string, method: string, path: string): Promise<RawAnswer> =>
  send(method, `/tools/${name}${path}`, { Host: outbound(), 'x-api-key': task.handle });
/** The tools of the calls that were sent since. */
const sentSince = (count: number): unknown[] =>
  readRecord(stage.sidecar.eventsFile)
    .filter(({ event }) => event === 'call.admitted')
    .slice(count)
    .map((event) => event['tool']);

describe('W9: a mount opens nothing that the same call through the proxy does not', () => {
  test.each([
    ['GET', '/admin/x', 'admin'],
    ['GET', '/%61dmin/x', 'admin'],
    ['DELETE', '/y', 'writes'],
    ['GET', '/reports/y', 'reports'],
  ])('%s %s is a call of %s, whatever mount it came to', async (method, path, owner) => {
    const before = [tool.seen.length, stage.service.counts.token];
    const answer = await byMount('wide', method, path);
    await expectRefused(stage.sidecar.eventsFile, [{ what: path, answer }], 403, 'destination_unlisted');
    expect((JSON.parse(answer.body) as { detail: string }).detail).toContain(`of the tool ${owner}`);
    expect([tool.seen.length, stage.service.counts.token]).toEqual(before);
  });

  test('of two tools that match the very same calls, as with two accounts, a mount names the one', async () => {
    const before = sentSince(0).length;
    for (const name of ['first', 'second']) expect((await byMount(name, 'GET', '/x')).status).toBe(200);
    expect(sentSince(before)).toEqual(['first', 'second']);
  });

  test('W2: paths that can be read in two ways are refused there as well', async () => {
    for (const path of ['/a/../admin/x', '/%2e%2e;/admin//x', '//admin/x']) {
      const answers = [await byProxy('GET', path), await byMount('wide', 'GET', path)];
      expect([path, ...answers.map(({ code }) => code)]).toEqual([path, 'path_ambiguous', 'path_ambiguous']);
    }
  });

  test('the tool’s own mount is decided by its rules, and what is its own passes', async () => {
    expect((await byMount('admin', 'GET', '/admin/x')).code).toBe('denied_by_rule');
    expect((await byMount('writes', 'DELETE', '/y')).code).toBe('denied_by_rule');
    const before = sentSince(0).length;
    expect((await byMount('wide', 'GET', '/x')).status).toBe(200);
    expect((await byMount('reports', 'GET', '/reports/y')).status).toBe(200);
    expect((await byProxy('GET', '/reports/y')).status).toBe(200);
    expect(sentSince(before)).toEqual(['wide', 'reports', 'reports']);
  });
});

describe('W10: a page in a browser reaches no mount', () => {
  const visit = (headers: Record<string, string>): Promise<RawAnswer> =>
    send('GET', '/tools/own/delete?all=1', { Host: outbound(), ...headers });

  test.each(['cross-site', 'same-site', 'same-origin', 'none, cross-site', ''])(
    'an image, a script or a link of one, which come without Origin, but with Sec-Fetch-Site: %s',
    async (site) => {
      const before = tool.seen.length;
      const answer = await visit({ 'SEC-Fetch-Site': site, 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Dest': 'image' });
      await expectRefused(stage.sidecar.eventsFile, [{ what: site, answer }], 400, 'header_forbidden');
      expect((JSON.parse(answer.body) as { detail: string }).detail).toContain('Sec-Fetch-Site');
      expect(tool.seen.length).toBe(before);
    },
  );

  test('told in two lines, the worse one counts; in absolute form of our own name as well', async () => {
    const twice = await visit({ 'Sec-Fetch-Site': 'none', 'sec-fetch-site': 'cross-site' });
    const absolute = await send('GET', `http://${outbound()}/tools/own/x`, {
      Host: outbound(),
      'Sec-Fetch-Site': 'cross-site',
    });
    expect([twice.code, absolute.code]).toEqual(['header_forbidden', 'header_forbidden']);
  });

  test('while a person at the address bar and programs go on, and through the proxy the header is the agent’s own', async () => {
    expect((await visit({ 'Sec-Fetch-Site': 'none', 'Sec-Fetch-Mode': 'navigate' })).status).toBe(200);
    expect((await visit({ 'User-Agent': 'curl/8' })).status).toBe(200);
    expect((await fetch(`http://${outbound()}/tools/own/x`)).status).toBe(200);
    const posted = await fetch(`http://${outbound()}/tools/own/x`, { method: 'POST', body: '{}' });
    expect(posted.status).toBe(200);
    const headers = { Host: 'own.test', 'Sec-Fetch-Site': 'cross-site' };
    expect((await send('GET', 'http://own.test/x', headers)).status).toBe(200);
    expect(tool.seen.at(-1)?.headers['sec-fetch-site']).toBe('cross-site');
  });
});
