import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { forms } from '../../proxy/forward/screen/forms.ts';
import { cookieLines, openCookieStage, type CookieStage, type Said } from '../stage/cookie-stage.ts';
import type { SeenCall } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { callOperator } from '../stage/sidecar-process.ts';

let stage: CookieStage;

beforeAll(async () => {
  stage = await openCookieStage();
});
afterAll(async () => {
  await stage?.close();
});
beforeEach(async () => {
  stage.say = () => ({});
  stage.current = await stage.task('alice');
});

describe('W3: a session that was opened with a credential stays here, and goes on in its task', () => {
  test('whatever the status of the answer', async () => {
    for (const [at, status] of [200, 302, 304, 204, 401, 404, 500].entries()) {
      stage.say = () => ({
        status,
        headers: [
          ['Set-Cookie', `c${at}=v${at}`],
          ['Location', '/'],
        ],
      });
      const answer = await stage.call('crm');
      expect([answer.status, cookieLines(answer)]).toEqual([status, []]);
    }
    expect(await stage.sentTo('crm')).toBe('c0=v0; c1=v1; c2=v2; c3=v3; c4=v4; c5=v5; c6=v6');
    stage.say = () => ({ headers: [['set-COOKIE', 'head=1']] });
    await stage.call('crm', '/', { method: 'HEAD' });
    expect(await stage.sentTo('crm')).toContain('head=1');
  });

  test('in whatever spelling; in trailers and interim answers it counts for nothing', async () => {
    stage.say = () => ({
      headers: ['Set-Cookie', 'SET-COOKIE', 'Set-Cookie2', 'Set_Cookie', 'set.cookie'].map(
        (name, at) => [name, `a${at}=1`] as const,
      ),
      early: { 'set-cookie': 'early=1' },
      trailers: [
        ['Set-Cookie', 'late=1'],
        ['X-Kept', 'yes'],
      ],
    });
    const answer = await stage.call('crm');
    expect(cookieLines(answer)).toEqual([]);
    expect(await stage.sentTo('crm')).toBe('a0=1; a1=1');
  });

  test('also through the answer to a challenge', async () => {
    let count = 0;
    stage.say = () => {
      count += 1;
      if (count > 1) return {};
      return {
        status: 401,
        headers: [
          ['Set-Cookie', 'route=7'],
          ['WWW-Authenticate', 'Bearer error="invalid_token"'],
        ],
      };
    };
    expect((await stage.call('crm')).status).toBe(200);
    expect(stage.tool.seen.at(-1)?.headers.cookie).toBe('route=7');
  });

  test('no cookie crosses to another task, tool, or origin, whoever calls in between', async () => {
    const tasks = await Promise.all(['alice', 'bob', 'bob'].map((sub) => stage.task(sub)));
    const pairs = tasks.flatMap((task, of) => ['crm', 'bound', 'files'].map((name) => ({ task, of, name })));
    const setting = (call: SeenCall): Said => ({
      headers: call.path.startsWith('/login/')
        ? [['Set-Cookie', `s=${call.path.slice(7)}; Path=/; Domain=${call.headers.host}`]]
        : [],
    });
    stage.say = setting;
    const opened = pairs.map(({ task, of, name }) => stage.call(name, `/login/${of}-${name}`, {}, task));
    expect((await Promise.all(opened)).map(({ status, code }) => [status, code])).toEqual(
      pairs.map(() => [200, undefined]),
    );
    const rounds = Array.from({ length: 8 }, () => pairs)
      .flat()
      .toSorted(() => Math.random() - 0.5);
    const before = stage.tool.seen.length;
    const used = rounds.map(({ task, of, name }) => stage.call(name, `/use/${of}-${name}`, {}, task));
    expect((await Promise.all(used)).filter(({ status }) => status !== 200).map(({ code }) => code)).toEqual([]);
    const uses = stage.tool.seen.slice(before).map(({ path, headers }) => [path, headers.cookie]);
    expect(uses).toHaveLength(72);
    expect(uses.filter(([path, cookie]) => cookie !== `s=${path?.slice(5)}`)).toEqual([]);
    expect(await stage.sentTo('crm', '/', {}, await stage.task('alice'))).toBe('');
    const [first] = tasks;
    stage.say = setting;
    await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test:8080/use', { handle: first?.handle ?? '' });
    expect(stage.tool.seen.at(-1)?.headers.cookie).toBeUndefined();
  });

  test('nor between two tools at the same place', async () => {
    stage.say = () => ({ headers: [['Set-Cookie', 'may=write']] });
    await stage.call('crm', '/', { method: 'POST', body: 'x' });
    expect(await stage.sentTo('crm')).toBe('');
    expect(await stage.sentTo('crm', '/', { method: 'POST', body: 'x' })).toBe('may=write');
  });

  test('it ends with its task', async () => {
    await stage.set('crm', ['s=1']);
    const other = await stage.task('alice');
    await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${stage.current.txn}/complete`, {});
    expect((await stage.call('crm')).code).toBe('handle_ended');
    expect(await stage.sentTo('crm', '/', {}, other)).toBe('');
  });
});

describe('the agent’s own cookies', () => {
  const headers = { Cookie: 's=stolen; theme=dark', cookie2: '$Version=1' };

  test('W12: do not reach a tool that gets a credential: a session names a user', async () => {
    await stage.set('crm', ['s=1']);
    expect(await stage.sentTo('crm', '/', { headers })).toBe('s=1');
    expect(await stage.sentTo('bound', '/', { headers })).toBe('');
    expect(await stage.sentTo('stripped', '/', { headers })).toBe('');
  });

  test('strip keeps nothing', async () => {
    await stage.set('stripped', ['s=1']);
    expect(await stage.sentTo('stripped')).toBe('');
  });

  test('and pass where the tool gets none, or the configuration says so', async () => {
    for (const name of ['open', 'passed']) {
      expect(await stage.sentTo(name, '/', { headers })).toBe('s=stolen; theme=dark | $Version=1');
      stage.say = () => ({
        headers: [
          ['Set-Cookie', 's=1'],
          ['Set-Cookie', 't=2'],
        ],
      });
      const answer = await stage.call(name);
      expect(cookieLines(answer)).toEqual(['Set-Cookie: s=1', 'Set-Cookie: t=2']);
    }
    expect(await stage.sidecar.metric('waybill_unsafe_settings{setting="tools.passed.cookies"}')).toBe(1);
    expect(readFileSync(stage.sidecar.eventsFile, 'utf8').match(/"setting":"[^"]*"/g)).toEqual([
      '"setting":"tools.passed.cookies"',
    ]);
  });

  test('a tool without credential may have them held as well, in a task', async () => {
    await stage.set('held', ['s=1']);
    expect(await stage.sentTo('held', '/', { headers })).toBe('s=1');
    stage.say = () => ({ headers: [['Set-Cookie', 's=2']] });
    const alone = await callThrough(stage.sidecar.addresses.outbound, 'http://held.test/', { headers });
    expect([alone.status, alone.headers['set-cookie'], stage.tool.seen.at(-1)?.headers.cookie]).toEqual([
      200,
      undefined,
      undefined,
    ]);
    expect(await stage.sentTo('held')).toBe('s=1');
  });
});

describe('W3, W8: the value of a cookie that is held is a secret', () => {
  test('masked in every form, in the answer that sets it and in those that follow', async () => {
    const value = randomBytes(18).toString('base64url');
    stage.say = () => ({
      headers: [
        ['Set-Cookie', `sid=${value}; HttpOnly`],
        ['X-Sid', value],
      ],
      body: `{"sid":"${value}"}`,
    });
    const first = await stage.call('crm');
    expect([first.headers['x-sid'], first.body]).toEqual(['*'.repeat(24), `{"sid":"${'*'.repeat(24)}"}`]);
    for (const { name, write } of forms) {
      for (const written of write(Buffer.from(value))) {
        stage.say = () => ({ body: `you sent ${written.toString('latin1')}.` });
        const { body } = await stage.call('crm');
        expect([name, body.includes(written.toString('latin1').slice(4, -4))]).toEqual([name, false]);
      }
    }
    stage.say = () => ({ body: value });
    expect((await stage.call('files')).body).toBe(value);
  });

  test('but for words that stand in answers anyway', async () => {
    await stage.set('crm', ['theme=dark-mode', 'region=us-east-1', 'n=1234567', 'id=ab12cd34']);
    stage.say = () => ({ body: 'dark-mode us-east-1 1234567 ab12cd34' });
    expect((await stage.call('crm')).body).toBe('dark-mode us-east-1 1234567 ********');
  });

  test('and nowhere in the record or the log', async () => {
    const value = randomBytes(24).toString('base64url');
    await stage.set('crm', [`sid=${value}`]);
    expect(await stage.sentTo('crm')).toContain(value);
    const texts = [
      readFileSync(stage.sidecar.eventsFile, 'utf8'),
      stage.sidecar.output(),
      JSON.stringify(await callOperator(stage.sidecar.addresses.socket, 'GET', '/v1/inventory')),
    ];
    for (const text of texts) expect(text).not.toContain(value.slice(0, 16));
  });
});
