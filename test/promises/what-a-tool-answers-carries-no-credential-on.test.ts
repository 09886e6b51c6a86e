import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { expectRefused } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let other: EchoTool;
let collector: Server;
let collected = 0;
let stage: Stage;
let task: StagedTask;
let said: { status: number; headers: [name: string, value: string][]; trailers?: [string, string][] };

beforeAll(async () => {
  tool = await openEchoTool({
    answer: ({ method }, response) => {
      response.writeHead(said.status, said.headers.flat());
      if (method !== 'HEAD') response.write('content');
      if (said.trailers !== undefined) response.addTrailers(said.trailers);
      response.end();
    },
  });
  other = await openEchoTool();
  collector = createServer((_request, response) => {
    collected += 1;
    response.end();
  });
  await new Promise<void>((done) => collector.listen(0, '127.0.0.1', done));
  stage = await openStage({
    tools: {
      crm: { port: tool.port },
      bound: { port: tool.port, proof: 'dpop' },
      open: { port: tool.port, token: false },
      other: { port: other.port },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([tool.close(), other.close()]);
  collector.close();
});
beforeEach(() => {
  said = { status: 200, headers: [] };
});

function call(name: string, options: Parameters<typeof callThrough>[2] = {}): Promise<RawAnswer> {
  return callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/x`, { handle: task.handle, ...options });
}

const named = (answer: RawAnswer, name: string): string[] =>
  answer.lines
    .filter((line) => line.toLowerCase().startsWith(`${name}:`))
    .map((line) => line.slice(name.length + 1).trim());
const sentBy = (seen: SeenCall | undefined, name: string): string[] =>
  (seen?.rawHeaders ?? []).filter((_text, at, all) => at % 2 === 1 && all[at - 1]?.toLowerCase() === name);

describe('W2: a redirect is told to the agent and never followed with its credential', () => {
  const statuses = [300, 301, 302, 303, 305, 307, 308];
  test.for(statuses)('%d', async (status) => {
    const { port } = collector.address() as AddressInfo;
    const places = [
      `http://127.0.0.1:${port}/steal`,
      `http://other.test/x`,
      `${stage.service.issuer}/token`,
      '/x/again',
      '//other.test/',
      `http://${stage.sidecar.addresses.metrics}/metrics`,
    ];
    for (const place of places) {
      const [before, tokens] = [tool.seen.length, stage.service.counts.token];
      said = { status, headers: [['Location', place]] };
      const answer = await call('crm');
      expect([answer.status, named(answer, 'location'), answer.body]).toEqual([status, [place], 'content']);
      expect([tool.seen.length - before, other.connections(), collected]).toEqual([1, 0, 0]);
      expect(stage.service.counts.token - tokens).toBe(tokens === 0 ? 1 : 0);
    }
  });
});

describe('W3: cookies of a tool that gets a token stay here, in both directions', () => {
  const cookies: [string, string][] = [
    ['Set-Cookie', 'session=1; HttpOnly'],
    ['set-cookie', 'b=2'],
    ['SET-COOKIE', 'c=3; Domain=test'],
  ];
  const agents = { Cookie: 'session=stolen', COOKIE: 'second=1' };

  test.for(['crm', 'bound'])('%s', async (name) => {
    said = {
      status: 200,
      headers: [...cookies, ['X-Other', 'kept'], ['Content-Type', 'text/plain']],
      trailers: [['Set-Cookie', 'late=1']],
    };
    const answer = await call(name, { headers: agents });
    expect([answer.status, answer.body, named(answer, 'x-other')]).toEqual([200, 'content', ['kept']]);
    expect(answer.lines.filter((line) => /cookie/i.test(line))).toEqual([]);
    expect(sentBy(tool.seen.at(-1), 'cookie')).toEqual([]);
  });

  test('and pass at one that gets none, each on its own line', async () => {
    said = { status: 200, headers: cookies };
    const answer = await call('open', { headers: agents });
    expect(named(answer, 'set-cookie')).toEqual(['session=1; HttpOnly', 'b=2', 'c=3; Domain=test']);
    expect(sentBy(tool.seen.at(-1), 'cookie')).toEqual(['session=stolen', 'second=1']);
  });
});

describe('W3: what a tool says to us alone does not reach the agent', () => {
  test.for(['crm', 'bound', 'open'])('nonces, hops, other ways to the tool: %s', async (name) => {
    const ours: [string, string][] = [
      ['DPoP-Nonce', 'n-1'],
      ['dpop-nonce', 'n-2'],
      ['Alt-Svc', 'h2=":443"'],
      ['Keep-Alive', 'timeout=9'],
      ['Proxy-Authenticate', 'Basic realm="tool"'],
      ['Proxy-Connection', 'close'],
      ['Waybill-Delegation', 'x'],
      ['Txn-Token', 'x'],
      ['X-Hop', 'secret'],
      ['Connection', 'X-Hop, close'],
    ];
    said = { status: 200, headers: [...ours, ['X-End', 'kept'], ['ETag', '"1"']] };
    const answer = await call(name);
    expect([answer.status, answer.body, named(answer, 'x-end'), named(answer, 'etag')]).toEqual([
      200,
      'content',
      ['kept'],
      ['"1"'],
    ]);
    const leaked = answer.lines.filter((line) =>
      /^(?:dpop-nonce|alt-svc|proxy-auth|proxy-conn|waybill-|txn-token|x-hop)|n-1|n-2|timeout=9/i.test(line),
    );
    expect(leaked).toEqual([]);
  });
});

describe('W3: TRACE would answer with our credential in it', () => {
  test('so it is not sent to a tool that gets one, and costs no token', async () => {
    const fresh = await stage.task();
    const [before, tokens] = [tool.seen.length, stage.service.counts.token];
    const tried = await Promise.all(
      ['crm', 'bound', 'other'].map(async (name) => ({
        what: name,
        answer: await call(name, { method: 'TRACE', handle: fresh.handle }),
      })),
    );
    await expectRefused(stage.sidecar.eventsFile, tried, 400, 'message_malformed');
    expect([tool.seen.length - before, other.seen.length, stage.service.counts.token - tokens]).toEqual([0, 0, 0]);
  });

  test('and to one that gets none it goes without the handle', async () => {
    const answer = await call('open', { method: 'TRACE', headers: { Authorization: `Bearer ${task.handle}` } });
    expect(answer.status).toBe(200);
    expect(tool.seen.at(-1)?.rawHeaders.join('\n')).not.toContain('wbh_');
  });
});
