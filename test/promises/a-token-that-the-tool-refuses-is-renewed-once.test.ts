import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeTokenService } from '../fakes/token-service.ts';
import { answerEcho, openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { callOperator, removeFolder, type StagedTask } from '../stage/sidecar-process.ts';
import { openInProcess } from '../stage/sidecar-in-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
/** Tokens that the tool calls expired. */
const refused = new Set<string>();
let challenge: string | string[];
let from: number;

const tokenOf = ({ headers }: SeenCall): string => headers.authorization ?? '';

beforeAll(async () => {
  tool = await openEchoTool({
    answer: (seenCall, response) => {
      if (seenCall.path.startsWith('/refuse-all') || refused.has(tokenOf(seenCall))) {
        const isHalf = seenCall.path.endsWith('/half');
        response.writeHead(401, { 'WWW-Authenticate': challenge, ...(isHalf ? { 'Content-Length': 100 } : {}) });
        if (isHalf) response.write('no');
        else response.end('no');
      } else answerEcho(seenCall, response);
    },
  });
  stage = await openStage({
    tools: {
      crm: { port: tool.port },
      bound: { port: tool.port, proof: 'dpop' },
      open: { port: tool.port, token: false },
    },
  });
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});
beforeEach(() => {
  from = tool.seen.length;
  challenge = 'Bearer realm="crm", error="invalid_token", error_description="expired"';
});

const seen = (): SeenCall[] => tool.seen.slice(from);

function call(
  task: StagedTask,
  name = 'crm',
  path = '/x',
  options: Parameters<typeof callThrough>[2] = {},
): Promise<RawAnswer> {
  return callThrough(stage.sidecar.addresses.outbound, `http://${name}.test${path}`, {
    handle: task.handle,
    ...options,
  });
}

/** A task with a cached token that its tool has come to refuse. */
async function withRefusedToken(name = 'crm'): Promise<StagedTask> {
  const task = await stage.task();
  await call(task, name);
  refused.add(tokenOf(tool.seen.at(-1)!));
  from = tool.seen.length;
  return task;
}

describe('W4: a token that its tool calls expired is exchanged anew, once, and the old one goes back', () => {
  test.for([
    ['crm', 'Bearer realm="crm", error="invalid_token", error_description="expired"'],
    ['crm', 'bearer error=invalid_token'],
    ['crm', ['Basic realm="x"', 'Bearer error="invalid_token"']],
    ['bound', 'DPoP error="invalid_token", algs="ES256"'],
    ['bound', 'Bearer error="invalid_token", DPoP algs="ES256 ES384", error="invalid_token"'],
  ] as const)('%s: %s', async ([name, said]) => {
    challenge = said as string | string[];
    const task = await withRefusedToken(name);
    const before = stage.service.counts.token;
    const answer = await call(task, name, '/pay?amount=1', { method: 'POST', body: 'body' });
    expect([answer.status, seen().length, stage.service.counts.token - before]).toEqual([200, 2, 1]);
    expect(answer.lines.join('\n')).not.toMatch(/www-authenticate/i);
    const [old, renewed] = seen().map(tokenOf);
    expect([refused.has(old ?? ''), refused.has(renewed ?? '')]).toEqual([true, false]);
    expect(seen().map(({ method, path, body }) => `${method} ${path} ${String(body)}`)).toEqual(
      Array(2).fill('POST /pay?amount=1 body'),
    );
    await eventually('the old token goes back', () =>
      stage.service.revoked.some((token) => old?.endsWith(` ${token}`) === true),
    );
    await call(task, name);
    expect([tokenOf(seen()[2]!), stage.service.counts.token - before]).toEqual([renewed, 1]);
    const causes = readRecord(stage.sidecar.eventsFile).filter(
      ({ event, txn }) => event === 'token.issued' && txn === task.txn,
    );
    expect(causes.map(({ cause }) => cause)).toEqual(['first', 'renewal']);
  });

  test('also when the rest of what it says never comes', { timeout: 15_000 }, async () => {
    const task = await withRefusedToken();
    const answer = await call(task, 'crm', '/half', { method: 'POST', body: 'body' });
    expect([answer.status, seen().length]).toEqual([200, 2]);
    expect((await call(task, 'crm', '/refuse-all/half').catch(String)) as RawAnswer).toMatchObject({
      status: 502,
      code: 'credential_refused',
    });
  });

  test('many calls with the same refused token make one exchange', async () => {
    const task = await withRefusedToken();
    const before = stage.service.counts.token;
    stage.service.delayMs = 100;
    const answers = await Promise.all(Array.from({ length: 25 }, (_, at) => call(task, 'crm', `/${at}`)));
    stage.service.delayMs = 0;
    expect([new Set(answers.map(({ status }) => status)), stage.service.counts.token - before]).toEqual([
      new Set([200]),
      1,
    ]);
  });
});

describe('W1: a tool that refuses every token does not turn each call into an exchange', () => {
  test('the second refusal within 30 s is a 502, and never a 401', async () => {
    const task = await stage.task();
    const before = stage.service.counts.token;
    const answers = [
      await call(task, 'crm', '/refuse-all'),
      await call(task, 'crm', '/refuse-all'),
      await call(task, 'crm', '/refuse-all'),
    ];
    expect(answers.map(({ status, code }) => [status, code])).toEqual(answers.map(() => [502, 'credential_refused']));
    // The first was sent twice; the others once, since the token was renewed a moment ago.
    expect([seen().length, stage.service.counts.token - before]).toEqual([4, 2]);
    // What the tool refuses on one path is good on another.
    expect((await call(task)).status).toBe(200);
  });

  test('a body that cannot be sent twice is not', async () => {
    const task = await withRefusedToken();
    const answer = await call(task, 'crm', '/x', { method: 'POST', body: Buffer.alloc(100_000) });
    expect([answer.status, answer.code, seen().length]).toEqual([502, 'credential_refused', 1]);
  });

  test('a renewal that the service refuses is told as such', async () => {
    const task = await withRefusedToken();
    stage.service.lie = 'invalid_grant';
    const answer = await call(task);
    stage.service.lie = undefined;
    expect([answer.status, answer.code, seen().length]).toEqual([403, 'grant_dead', 1]);
  });

  test('after 30 s there may be another', async () => {
    let aheadMs = 0;
    const service = await openFakeTokenService({ secret: 'the-secret-of-this-test' });
    const dir = mkdtempSync(join(tmpdir(), 'waybill-renewal-'));
    writeFileSync(join(dir, 'secret'), 'the-secret-of-this-test');
    const { issuer } = service;
    const inside = await openInProcess(
      {
        trust: { issuers: [{ issuer, audience: 'invoice-bot' }] },
        token_services: {
          corp: {
            issuer,
            client_auth: 'client_secret_basic',
            client_id: 'bot',
            client_secret_file: join(dir, 'secret'),
          },
        },
        tools: {
          crm: {
            match: { host: 'crm.test' },
            dial: `127.0.0.1:${tool.port}`,
            token: { from: 'corp', audience: 'crm' },
          },
        },
      },
      { now: () => Date.now() + aheadMs, monotonic: () => performance.now() + aheadMs },
    );
    const opened = await callOperator(inside.sidecar.addresses.socket, 'POST', '/v1/tasks', {
      subject_token: await service.subjectToken(),
    });
    const handle = String(opened.body['handle']);
    const send = () => callThrough(inside.outbound, 'http://crm.test/refuse-all', { handle });
    const counts: number[] = [];
    for (const shift of [0, 29_000, 31_000, 31_000, 62_000]) {
      aheadMs = shift;
      expect((await send()).code).toBe('credential_refused');
      counts.push(service.counts.token);
    }
    await inside.close();
    await service.close();
    removeFolder(dir);
    expect(counts).toEqual([2, 2, 3, 3, 4]);
  });
});

test('W1: at a tool without credential its 401 is the agent’s own affair', async () => {
  const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://open.test/refuse-all', {});
  expect([answer.status, answer.headers['www-authenticate'], seen().length]).toEqual([401, challenge, 1]);
});
