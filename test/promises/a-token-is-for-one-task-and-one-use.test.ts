import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeJwt } from 'jose';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** Every tool has these settings but for the one that its name says. */
const base = { from: 'corp', audience: ['a', 'b'], scopes: ['x', 'y'], use_for: '4m' };
const variants: Record<string, object> = {
  audience: { ...base, audience: ['a', 'c'] },
  fewer: { ...base, audience: ['a'] },
  joined: { ...base, audience: ['a,b'] },
  spaced: { ...base, audience: ['a b'] },
  resource: { ...base, resource: 'https://crm.example.org' },
  deeper: { ...base, resource: 'https://crm.example.org/v2' },
  scopes: { ...base, scopes: ['x', 'z'] },
  narrower: { ...base, scopes: ['x'] },
  unscoped: { ...base, scopes: undefined },
  proof: { ...base, proof: 'dpop' },
  second: { ...base, from: 'second' },
  third: { ...base, from: 'third' },
};

let foreign: FakeTokenService;
let tool: EchoTool;
let secure: EchoTool;
let stage: Stage;

beforeAll(async () => {
  const certificate = await makeToolCertificate('base.test');
  foreign = await openFakeTokenService({ secret: 'a-secret-of-the-foreign-service' });
  tool = await openEchoTool();
  secure = await openEchoTool({ tls: certificate });
  const dir = mkdtempSync(join(tmpdir(), 'waybill-uses-'));
  const secretFile = join(dir, 'foreign-secret');
  writeFileSync(secretFile, 'a-secret-of-the-foreign-service', { mode: 0o600 });
  // One service under two names: what differs is the name, and nothing that the service sees.
  const service = {
    issuer: foreign.issuer,
    client_auth: 'client_secret_basic',
    client_id: 'bot',
    client_secret_file: secretFile,
  };
  // All variants stand at one origin, and are told apart by their paths: nothing but the setting differs.
  const beside = (name: string, token: object) => ({
    port: tool.port,
    more: { match: { host: 'base.test', paths: [`/${name}/**`] }, token },
  });
  stage = await openStage({
    dir,
    tools: {
      base: { port: tool.port, more: { token: base } },
      same: { port: tool.port, more: { token: base } },
      secure: { port: secure.port, ca: certificate.ca, more: { match: { host: 'base.test', port: 443 }, token: base } },
      ...Object.fromEntries(Object.entries(variants).map(([name, token]) => [name, beside(name, token)])),
    },
    services: { second: service, third: service },
  });
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([foreign.close(), tool.close(), secure.close()]);
});

const exchanges = (): number => stage.service.counts.token + foreign.counts.token;

function call(task: StagedTask, url: string, options: Parameters<typeof callThrough>[2] = {}): Promise<RawAnswer> {
  return callThrough(stage.sidecar.addresses.outbound, url, { handle: task.handle, ...options });
}

/** Calls, and says how many exchanges that took and which token the tool saw. */
async function counted(task: StagedTask, url: string): Promise<{ count: number; token: string }> {
  const before = exchanges();
  const answer = await call(task, url);
  if (answer.status !== 200) throw new Error(`${url}: ${answer.status} ${answer.body}`);
  const seen = (url.startsWith('https') ? secure : tool).seen.at(-1);
  return { count: exchanges() - before, token: (seen?.headers.authorization ?? '').split(' ')[1] ?? '' };
}

describe('W4: a token is asked for again when any single thing that the exchange was given differs', () => {
  test('the tool, its origin, audience, resource, scopes, proof key or service', async () => {
    const task = await stage.task();
    const urls = [
      'http://base.test/',
      'http://same.test/',
      'http://base.test:8080/',
      'https://base.test/',
      ...Object.keys(variants).map((name) => `http://base.test/${name}/`),
    ];
    const tokens = new Map<string, string>();
    for (const url of urls) {
      const first = await counted(task, url);
      expect([url, first.count]).toEqual([url, 1]);
      tokens.set(first.token, url);
    }
    expect(tokens.size).toBe(urls.length);
    // And none of them again: each is found in the cache, and is the one of its own use.
    for (const url of urls.toReversed()) {
      const again = await counted(task, `${url}another?path=1`);
      expect([url, again.count, tokens.get(again.token)]).toEqual([url, 0, url]);
    }
  });

  test('each is what its tool asks for', async () => {
    const task = await stage.task();
    const asked = async (name: string) => {
      const { token } = await counted(task, name === 'base' ? 'http://base.test/' : `http://base.test/${name}/x`);
      const { aud, scope, cnf, iss } = decodeJwt(token);
      return [aud, scope, cnf === undefined ? 'bearer' : 'bound', iss === foreign.issuer];
    };
    expect(await asked('base')).toEqual([['a', 'b'], 'x y', 'bearer', false]);
    expect(await asked('audience')).toEqual([['a', 'c'], 'x y', 'bearer', false]);
    expect(await asked('joined')).toEqual(['a,b', 'x y', 'bearer', false]);
    expect(await asked('resource')).toEqual([['a', 'b', 'https://crm.example.org'], 'x y', 'bearer', false]);
    expect(await asked('narrower')).toEqual([['a', 'b'], 'x', 'bearer', false]);
    expect(await asked('unscoped')).toEqual([['a', 'b'], undefined, 'bearer', false]);
    expect(await asked('proof')).toEqual([['a', 'b'], 'x y', 'bound', false]);
    expect(await asked('second')).toEqual([['a', 'b'], 'x y', 'bearer', true]);
  });

  test('the task, even of the same user with the same subject token, and the key of its proofs', async () => {
    const subject_token = await stage.service.subjectToken();
    const tasks = [
      await stage.task('', { subject_token }),
      await stage.task('', { subject_token }),
      await stage.task('', { subject_token: await stage.service.subjectToken() }),
    ];
    for (const url of ['http://base.test/', 'http://base.test/proof/']) {
      const seen = [];
      for (const task of tasks) seen.push(await counted(task, url));
      expect(seen.map(({ count }) => count)).toEqual([1, 1, 1]);
      expect(new Set(seen.map(({ token }) => token)).size).toBe(3);
      const keys = seen.map(({ token }) => decodeJwt<{ cnf?: { jkt: string } }>(token).cnf?.jkt);
      expect(new Set(keys).size).toBe(url.includes('proof') ? 3 : 1);
    }
  });

  test('the subject: another user, another issuer’s claims of the same name, another chain', async () => {
    const subjects = [
      { sub: 'alice' },
      { sub: 'bob' },
      { sub: 'Alice' },
      { sub: 'alice', act: { sub: 'planner' } },
      { sub: 'alice', act: { sub: 'other' } },
    ];
    const subs: unknown[] = [];
    for (const claims of subjects) {
      const task = await stage.task('', { subject_token: await stage.service.subjectToken(claims) });
      const { count, token } = await counted(task, 'http://base.test/');
      expect(count).toBe(1);
      subs.push([decodeJwt(token).sub, decodeJwt(token)['act']]);
    }
    expect(subs.map((one) => (one as unknown[])[0])).toEqual(['alice', 'bob', 'Alice', 'alice', 'alice']);
  });

  test('a sub-task, which shares nothing with its parent', async () => {
    const parent = await stage.task();
    const child = await stage.task('alice', { parent: parent.txn });
    const tokens = [await counted(parent, 'http://base.test/'), await counted(child, 'http://base.test/')];
    expect([tokens.map(({ count }) => count), tokens[0]?.token === tokens[1]?.token]).toEqual([[1, 1], false]);
  });

  test('and not when only the request differs: path, query, method, body, door', async () => {
    const task = await stage.task();
    await counted(task, 'http://base.test/');
    const before = exchanges();
    await call(task, 'http://base.test/other/path?x=1');
    await call(task, 'http://base.test/', { method: 'POST', body: 'hello' });
    await call(task, 'http://base.test/', { method: 'DELETE' });
    await call(task, 'http://BASE.test.:80/', { headers: { Host: 'base.test' } });
    const mounted = await fetch(`http://${stage.sidecar.addresses.outbound}/tools/base/`, {
      headers: { 'x-api-key': task.handle },
    });
    expect([mounted.status, exchanges()]).toEqual([200, before]);
  });
});

describe('W4: concurrent misses make one exchange', () => {
  test('100 calls that wait get one token, by one request', async () => {
    const task = await stage.task();
    stage.service.delayMs = 250;
    const before = [exchanges(), tool.seen.length] as const;
    const answers = await Promise.all(Array.from({ length: 100 }, (_, at) => call(task, `http://base.test/${at}`)));
    stage.service.delayMs = 0;
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    const used = new Set(tool.seen.slice(before[1]).map(({ headers }) => headers.authorization));
    expect([exchanges() - before[0], used.size]).toEqual([1, 1]);
  });

  test('20 tasks of 5 calls each at once make 20 exchanges, and nobody gets another’s', async () => {
    const subs = Array.from({ length: 20 }, (_, at) => `user-${at % 7}`);
    const tasks = await Promise.all(subs.map((sub) => stage.task(sub)));
    stage.service.delayMs = 100;
    const before = [exchanges(), tool.seen.length] as const;
    await Promise.all(
      tasks.flatMap((task, at) => Array.from({ length: 5 }, () => call(task, `http://base.test/${at}`))),
    );
    stage.service.delayMs = 0;
    const seen = tool.seen.slice(before[1]);
    const wrong = seen.filter(
      ({ path, headers }) => decodeJwt(String(headers.authorization).slice(7)).sub !== subs[Number(path.slice(1))],
    );
    expect([
      exchanges() - before[0],
      seen.length,
      wrong.length,
      new Set(seen.map(({ headers }) => headers.authorization)).size,
    ]).toEqual([20, 100, 0, 20]);
  });

  test('a leader that fails, twice, fails for those who wait, and does not poison those who come after', async () => {
    const task = await stage.task();
    stage.service.delayMs = 250;
    stage.service.lie = 'unavailable';
    const before = exchanges();
    const answers = await Promise.all(Array.from({ length: 50 }, () => call(task, 'http://base.test/')));
    expect([new Set(answers.map(({ code }) => code)), exchanges() - before]).toEqual([
      new Set(['token_service_unavailable']),
      2,
    ]);
    stage.service.delayMs = 0;
    stage.service.lie = undefined;
    await new Promise((done) => setTimeout(done, 1100));
    expect((await counted(task, 'http://base.test/')).count).toBe(1);
  });
});
