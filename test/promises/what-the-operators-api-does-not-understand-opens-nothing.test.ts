import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exchangeOn, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let stage: Stage;

beforeAll(async () => {
  stage = await openStage({
    tools: { crm: { port: 1 }, files: { port: 1 } },
    sections: { tasks: { max_open: 40, deadline: '20m' } },
  });
});
afterAll(() => stage?.close());

/** Over the socket, where every role is given: only the request itself can be what is refused. */
async function send(method: string, path: string, body?: unknown): Promise<RawAnswer> {
  const socket = connect(stage.sidecar.addresses.socket);
  socket.on('error', () => undefined);
  const text = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const headers = {
    Host: 'operator',
    ...(text === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(text)) }),
  };
  try {
    return await exchangeOn(socket, requestBytes(method, path, headers, text));
  } finally {
    socket.destroy();
  }
}

const openTasks = (): Promise<number> => stage.sidecar.metric('waybill_tasks_open');

describe('W9: what is not understood is refused, and opens nothing', () => {
  test('bodies', async () => {
    const subject_token = await stage.service.subjectToken();
    const bodies: unknown[] = [
      '',
      '{',
      'null',
      '[]',
      '"x"',
      '1',
      '{}',
      '{"subject_token":""}',
      `{"subject_token":"${'x'.repeat(20_000)}"}`,
      '\ufeff{}',
      `{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`,
      'x'.repeat(70_000),
      `{"subject_token":"${subject_token}","purpose":"a","purpose":"b"}`,
      { subject_token: 1 },
      { subject_token: [subject_token] },
      { subject_token, user: 'x' },
      { subject_token, __proto__: null, constructor: 1 },
      { subject_token, purpose: '' },
      { subject_token, purpose: 1 },
      { subject_token, tools: 'crm' },
      { subject_token, tools: [1] },
      { subject_token, tools: ['nope'] },
      { subject_token, tools: ['crm', 'CRM'] },
      { subject_token, handles: 'all' },
      { subject_token, subject_token_type: 'jwt' },
      { subject_token, parent: 7 },
      ...['', '0s', '-1s', '10', '10 m', '1d', 'soon', 5].map((deadline) => ({ subject_token, deadline })),
    ];
    const before = await openTasks();
    for (const body of bodies) {
      const answer = await send('POST', '/v1/tasks', body);
      expect([JSON.stringify(body).slice(0, 80), answer.status]).toEqual([JSON.stringify(body).slice(0, 80), 400]);
      expect(answer.code).toMatch(/^(?:request_invalid|tool_unknown)$/);
      expect(answer.body).not.toContain(subject_token.slice(-40));
    }
    expect(await openTasks()).toBe(before);
    expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
  });

  test('revocations of whom they do not clearly name', async () => {
    const { txn } = await stage.task();
    const { issuer } = stage.service;
    const wrong: [body: string, why: string][] = [
      [`{"subject":{"iss":"${issuer}","sub":"alice","sub":"nobody"},"reason":"x"}`, 'repeats a member name'],
      [`{"agent":"nobody","reason":"x","\\u0061gent":"invoice-bot"}`, 'repeats a member name'],
      [`{"subject":{"iss":"${issuer}","sub":"alice\\ud83d"},"reason":"x"}`, 'subject.sub: holds half of a letter'],
      ['{"task":"\\ud83d","reason":"x"}', 'task: holds half of a letter'],
      ['{"agent":"invoice-bot\\udc4d","reason":"x"}', 'agent: holds half of a letter'],
      ['{"agent":"spiffe://Example.org/planner","reason":"x"}', 'trust-domain-chars'],
      ['{"agent":"spiffe://example.org/planner/","reason":"x"}', 'empty-segment-or-trailing-slash'],
      ['{"agent":"SPIFFE://example.org/planner","reason":"x"}', 'scheme'],
      ['{"agent":"spiffe://example.org","reason":"x"}', 'path-missing'],
      ['{"agent":"spiffe//example.org/planner","reason":"x"}', 'spiffe://TRUST-DOMAIN/PATH'],
      ['{"agent":"spiffe:/example.org/planner","reason":"x"}', 'scheme'],
      ['{"agent":"Spiffe/example.org/planner","reason":"x"}', 'scheme'],
      ['{"agent":" spiffe://example.org/planner","reason":"x"}', 'scheme'],
    ];
    for (const [body, why] of wrong) {
      const answer = await send('POST', '/v1/revoke', body);
      expect([body, answer.status, answer.code]).toEqual([body, 400, 'request_invalid']);
      expect(answer.body).toContain(why);
    }
    expect((await send('GET', `/v1/tasks/${txn}`)).body).toContain('"state":"open"');
    expect(stage.sidecar.events().some(({ event }) => event === 'principal.revoked')).toBe(false);
  });

  test.each([
    ['/v1/revoke', { all: true, reason: '' }, 'reason: must not be empty.'],
    ['/v1/revoke', { all: true }, 'reason: is missing.'],
    ['/v1/revoke', { all: true, reason: 'x'.repeat(501) }, 'reason: must have at most 500 characters.'],
    ['/v1/revoke', { all: 1, reason: 7 }, 'all: must be true; reason: must be text.'],
    ['/v1/tasks', undefined, 'body: is missing.'],
    ['/v1/tasks', { subject_token: 't', uses: 0, tools: 'crm' }, 'tools: must be a list; uses: must be at least 1.'],
    [
      '/v1/tasks',
      { subject_token: 't', uid: 1.5, handles: 7 },
      'handles: must be task or per_tool; uid: must be a whole number.',
    ],
    ['/v1/tasks', { subject_token: 't', user: 1 }, 'body: unknown member user.'],
    ['/v1/tasks', { subject_token: 't', peer: { executable: 'sh' } }, 'peer.executable: must be an absolute path.'],
  ])('and says why in its own words: %s %j', async (path, body, detail) => {
    const { body: answer } = await send('POST', path, body);
    expect(JSON.parse(answer)).toMatchObject({ code: 'request_invalid', detail });
  });

  test('a state that is none', async () => {
    for (const state of ['Open', '', 'all', 'open,failed'])
      expect((await send('GET', `/v1/tasks?state=${state}`)).status, state).toBe(400);
    expect((await send('GET', '/v1/tasks?state=revoked')).status).toBe(200);
  });

  test('a body that ends early, which is no fault of the sidecar', async () => {
    for (const path of ['/v1/revoke', '/v1/tasks']) {
      const socket = connect(stage.sidecar.addresses.socket);
      socket.write(requestBytes('POST', path, { Host: 'operator', 'Content-Length': '1000' }, '{"al'));
      await sleep(100);
      socket.destroy();
    }
    await sleep(300);
    expect((await send('GET', '/v1/tasks')).status).toBe(200);
    expect(stage.sidecar.output()).not.toContain('fault of the operator');
  });

  test('W1: the name of a user in another encoding is not taken for that of nobody', async () => {
    const body = JSON.stringify({ subject: { iss: 'https://i.test', sub: 'müller' }, reason: 'left' });
    const answer = await send('POST', '/v1/revoke', Buffer.from(body, 'latin1'));
    expect([answer.status, answer.code]).toEqual([400, 'request_invalid']);
    expect((await send('POST', '/v1/revoke', body)).status).toBe(200);
  });

  test('paths and methods', async () => {
    const { txn } = await stage.task();
    const wrong: [string, string, number, allow?: string][] = [
      ['PUT', '/v1/tasks', 405, 'GET, POST'],
      ['DELETE', `/v1/tasks/${txn}`, 405, 'GET'],
      ['GET', `/v1/tasks/${txn}/complete`, 405, 'POST'],
      ['POST', `/v1/tasks/${txn}`, 405, 'GET'],
      ['GET', '/v1/revoke', 405, 'POST'],
      ['POST', '/v1/events', 405, 'GET'],
      ['POST', `/v1/tasks/${txn}/cancel`, 404],
      ['POST', `/v1/tasks/${txn}/complete/now`, 404],
      ['GET', '/', 404],
      ['GET', '/v2/tasks', 404],
      ['GET', '/v1', 404],
      ['GET', '/v1/task', 404],
      ['GET', '//', 404],
      ['GET', '//v1/tasks', 404],
      ['GET', '/v1/tasks/unknown', 404],
      ['POST', '/v1/tasks/unknown/complete', 404],
      ['POST', '/v1/tasks/__proto__/complete', 404],
    ];
    for (const [method, path, status, allow] of wrong) {
      const answer = await send(method, path, method === 'POST' ? {} : undefined);
      expect([method, path, answer.status, answer.headers['allow']]).toEqual([method, path, status, allow]);
      expect(JSON.parse(answer.body)).toMatchObject({ status, code: answer.code });
    }
    expect((await callOperator(stage.sidecar.addresses.socket, 'GET', `/v1/tasks/${txn}`)).body['state']).toBe('open');
  });

  test('subject tokens of others, for others, over or forged', async () => {
    const { service } = stage;
    const now = Math.floor(Date.now() / 1000);
    const good = await service.subjectToken();
    const [head = '', payload = '', signature = ''] = good.split('.');
    const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url');
    const wrong = [
      'x',
      'a.b.c',
      `${good}=`,
      `${good}\n`,
      ` ${good}`,
      `${head}.${payload}.`,
      `${none}.${payload}.`,
      `${none}.${payload}.${signature}`,
      `${head}.${payload}.${signature.slice(0, -4)}AAAA`,
      `${head}.${Buffer.from(Buffer.from(payload, 'base64url').toString().replace('alice', 'admin')).toString('base64url')}.${signature}`,
      ...(await Promise.all(
        [
          { exp: now - 1 },
          { aud: 'other' },
          { aud: [] },
          { iss: 'https://evil.test' },
          { iss: `${service.issuer}/` },
          { nbf: now + 600 },
          { iat: now + 600 },
          { sub: '' },
          { sub: 7 },
          { exp: 'soon' },
          { act: 'planner' },
        ].map((claims) => service.subjectToken(claims)),
      )),
      await service.subjectToken({}, 'JWT'),
      await service.subjectToken({}, 'id+jwt'),
    ];
    const before = await openTasks();
    for (const [at, subject_token] of wrong.entries()) {
      const answer = await send('POST', '/v1/tasks', { subject_token });
      expect([at, answer.status, answer.code]).toEqual([at, 403, 'subject_token_invalid']);
    }
    expect(await openTasks()).toBe(before);
  });

  test('more tasks than may be open', async () => {
    const answers: number[] = [];
    for (let at = 0; at <= 40; at += 1)
      answers.push(
        (
          await callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/tasks', {
            subject_token: await stage.service.subjectToken(),
          })
        ).status,
      );
    expect([answers.at(-1), await openTasks()]).toEqual([429, 40]);
  });
});
