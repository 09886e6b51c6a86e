import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { findSecrets } from '../stage/secret-scan.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const key = 'sk-live-51H8ZqKz0aXyTn4vB7mRwQ2pLc9eUdJf';
const later = 'sk-live-99ZZqKz0aXyTn4vB7mRwQ2pLc9eNEWER';
let dir: string;
const signs = "aB!cD/eF(gH)iJ*kL'mN/oP!qR(sT)uV*wX";
const password = 'pw-7hQ2x9Lm';
const quoted = 'pw"7h\\Q2/x9"Lm';
let tool: EchoTool;
/** Answers with what it was told in `Authorization`, taken apart. */
let mirror: EchoTool;
let stage: Stage;
let task: StagedTask;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-secrets-'));
  mkdirSync(join(dir, 'tools'));
  mkdirSync(join(dir, 'basic'));
  writeFileSync(join(dir, 'key'), `${key}\n`);
  writeFileSync(join(dir, 'tools', 'named'), key);
  writeFileSync(join(dir, 'basic', 'username'), 'svc');
  writeFileSync(join(dir, 'basic', 'password'), `${key}\n`);
  writeFileSync(join(dir, 'changing'), key);
  writeFileSync(join(dir, 'forged'), `${key}\r\nx-injected: 1`);
  writeFileSync(join(dir, 'long'), 'x'.repeat(9000));
  execFileSync('mkfifo', [join(dir, 'pipe')]);
  writeFileSync(join(dir, 'signs'), signs);
  writeFileSync(join(dir, 'pair'), `service-account:${password}`);
  writeFileSync(join(dir, 'quoted'), `service-account:${quoted}`);
  tool = await openEchoTool();
  mirror = await openEchoTool({
    answer: ({ headers }, response) => {
      const pair = Buffer.from(headers.authorization?.slice('Basic '.length) ?? '', 'base64').toString();
      response.end(JSON.stringify(pair.split(':')));
    },
  });
  const secret = (more: Record<string, unknown>) => ({ port: tool.port, token: false, more: { secret: more } });
  stage = await openStage({
    tools: {
      plain: secret({ file: join(dir, 'key'), in: 'header' }),
      named: secret({ dir: join(dir, 'tools'), in: 'header', name: 'X-Named-Key' }),
      prefixed: secret({ file: join(dir, 'key'), in: 'header', name: 'Authorization', prefix: 'Token token=' }),
      basic: secret({ dir: join(dir, 'basic'), in: 'basic' }),
      query: secret({ file: join(dir, 'key'), in: 'query', name: 'api_key' }),
      signs: secret({ file: join(dir, 'signs'), in: 'query', name: 'api_key' }),
      pair: { port: mirror.port, token: false, more: { secret: { file: join(dir, 'pair'), in: 'basic' } } },
      quoted: { port: mirror.port, token: false, more: { secret: { file: join(dir, 'quoted'), in: 'basic' } } },
      changing: secret({ file: join(dir, 'changing'), in: 'header', name: 'x-key' }),
      absent: secret({ file: join(dir, 'none'), in: 'header' }),
      forged: secret({ file: join(dir, 'forged'), in: 'header' }),
      long: secret({ file: join(dir, 'long'), in: 'header' }),
      pipe: secret({ file: join(dir, 'pipe'), in: 'header' }),
      folder: secret({ file: dir, in: 'header' }),
      other: { port: tool.port },
      open: { port: tool.port, token: false },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
  await mirror.close();
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  tool.seen.length = 0;
});

function call(name: string, path = '/x', headers: Record<string, string> = {}): Promise<RawAnswer> {
  const url = `http://${name}.test${path}`;
  return callThrough(stage.sidecar.addresses.outbound, url, { handle: task.handle, headers });
}

const sentAs = (name: string): string[] =>
  (tool.seen.at(-1)?.rawHeaders ?? []).filter((_, at, all) => at % 2 === 1 && all[at - 1]?.toLowerCase() === name);

function expectRefused(answer: RawAnswer, status: number, code: string): void {
  expect([answer.status, answer.code]).toEqual([status, code]);
}

describe('the tool gets its key in the place that it knows', () => {
  test.for([
    ['plain', 'authorization', `Bearer ${key}`],
    ['named', 'x-named-key', key],
    ['prefixed', 'authorization', `Token token=${key}`],
    ['basic', 'authorization', `Basic ${Buffer.from(`svc:${key}`).toString('base64')}`],
  ] as const)('%s: %s', async ([name, header, value]) => {
    expect((await call(name, '/x', { [header]: 'the agents own', 'x-api-key': 'own' })).status).toBe(200);
    expect([sentAs(header), sentAs('x-api-key')]).toEqual([[value], []]);
    expect(tool.seen[0]?.path).toBe('/x');
  });

  test('the query: behind what was decided, which stays as it was', async () => {
    expect((await call('query', '/a%20b?x=1&y=%2F')).status).toBe(200);
    expect((await call('query', '/bare')).status).toBe(200);
    expect(tool.seen.map(({ path }) => path)).toEqual([`/a%20b?x=1&y=%2F&api_key=${key}`, `/bare?api_key=${key}`]);
    expect(sentAs('authorization')).toEqual([]);
  });

  test('a client that sends its handle where the key would go is known by it', async () => {
    const url = 'http://named.test/x';
    const answer = await callThrough(stage.sidecar.addresses.outbound, url, {
      headers: { 'x-named-key': task.handle },
    });
    expect([answer.status, sentAs('x-named-key')]).toEqual([200, [key]]);
  });
});

describe('W2: the key goes to its tool and nowhere else', () => {
  test.for(['other', 'open'])('%s gets none', async (name) => {
    expect((await call(name)).status).toBe(200);
    expect(JSON.stringify(tool.seen)).not.toContain(key);
  });

  test('nor does another port of the same host', async () => {
    const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://plain.test:8081/x', {
      handle: task.handle,
    });
    expectRefused(answer, 403, 'destination_unlisted');
    expect(tool.seen).toEqual([]);
  });

  test('without a task there is no key', async () => {
    expectRefused(await callThrough(stage.sidecar.addresses.outbound, 'http://plain.test/x'), 407, 'task_unknown');
  });
});

test.for([
  'api_key=mine',
  'x=1&api_key=mine',
  'API_KEY=1',
  'api%5Fkey=1',
  'api_key',
  'a;api_key=1',
  'api.key=1',
  'api_key[]=1',
])('a parameter of the agent that the tool could take for its key is refused: %s', async (query) => {
  expectRefused(await call('query', `/x?${query}`), 400, 'header_forbidden');
  expect(tool.seen).toEqual([]);
});

describe('W3: it is masked as it was sent', () => {
  test('in a URL, whatever signs it has', async () => {
    const { body } = await call('signs');
    const sent = new URL(tool.seen[0]?.path ?? '', 'http://tool');
    expect(sent.searchParams.get('api_key')).toBe(signs);
    expect(JSON.parse(body)).toMatchObject({
      path: `/x?api_key=${'*'.repeat(sent.search.length - '?api_key='.length)}`,
    });
  });

  test('in JSON, whatever has to be escaped there', async () => {
    const { body } = await call('quoted');
    expect(body).toBe(`["service-account","${'*'.repeat(JSON.stringify(quoted).length - 2)}"]`);
  });

  test('the password without its user', async () => {
    expect((await call('pair')).body).toBe(`["service-account","${'*'.repeat(password.length)}"]`);
  });
});

// A pipe has nobody who writes: waiting for him would stop whatever else reads files.
test.for(['absent', 'forged', 'long', 'pipe', 'folder'])(
  'W1: a key that cannot be read, or is none, sends nothing: %s',
  async (name) => {
    expectRefused(await call(name), 503, 'identity_unavailable');
    expect(tool.seen).toEqual([]);
  },
);

test('a key that is changed is used from the next second on, and one that is removed stops calls', async () => {
  expect([(await call('changing')).status, sentAs('x-key')]).toEqual([200, [key]]);
  writeFileSync(join(dir, 'changing'), later);
  await sleep(1050);
  expect([(await call('changing')).status, sentAs('x-key')]).toEqual([200, [later]]);
  rmSync(join(dir, 'changing'));
  await sleep(1050);
  expectRefused(await call('changing'), 503, 'identity_unavailable');
});

test('the record tells the key by its hash, with its binding level and without its text (W8)', async () => {
  const answer = await call('query', '/x?q=1');
  const metrics = await stage.sidecar.metrics();
  expect(metrics).toContain('waybill_tool_binding{tool="query",level="static"} 1');
  const event = readRecord(stage.sidecar.eventsFile)
    .filter(({ event: name, tool: at }) => name === 'call.admitted' && at === 'query')
    .at(-1);
  expect(event).toMatchObject({ binding: 'static', txn: task.txn, target: { path: '/x' }, chain: [] });
  expect(event?.['credential']).toEqual({
    service: 'secret:query',
    id: expect.stringMatching(/^[0-9a-f]{16}$/),
    audience: [],
    scopes: [],
    from: 'file',
  });
  const leftovers = [
    ['answer', answer.body + answer.lines.join()],
    ['output', stage.sidecar.output()],
    ['metrics', metrics],
    ['events', readFileSync(stage.sidecar.eventsFile, 'utf8')],
  ].map(([where, text]) => ({ where: String(where), bytes: Buffer.from(String(text)) }));
  // The echo tool of this test answers with the path that it was called by.
  leftovers[0]!.bytes = Buffer.from(answer.lines.join());
  expect(findSecrets([{ name: 'key', value: key }], leftovers)).toEqual([]);
});
