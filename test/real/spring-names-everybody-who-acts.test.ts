import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { callOperator, openTask, type SidecarProcess } from '../stage/sidecar-process.ts';
import { lies, openSpringPath, type SpringPath } from '../stage/spring-path.ts';
import { buildSpring, type SpringServer, startSpring } from '../stage/spring-server.ts';

let missing: string | undefined;
let server: SpringServer;
let path: SpringPath;

beforeAll(async () => {
  const built = await buildSpring();
  if ('missing' in built) {
    missing = built.missing;
    return;
  }
  server = await startSpring(built.jar);
  path = await openSpringPath(server);
}, 900_000);
afterAll(async () => {
  await path?.close();
  await server?.stop();
});

function needServer(context: TestContext): void {
  if (missing !== undefined) context.skip(missing);
}

/** The access token of the call that the tool saw last. */
function lastToken(): { readonly scheme: string; readonly text: string; readonly claims: Record<string, unknown> } {
  const [scheme = '', text = ''] = String(path.tool.seen.at(-1)?.headers.authorization).split(' ');
  const claims = JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>;
  return { scheme, text, claims };
}

/** What a sidecar recorded of answers of the server that it did not take. */
function rejectedAt(sidecar: SidecarProcess): Record<string, unknown>[] {
  return sidecar.events().filter(({ event }) => event === 'token.rejected');
}

test('one hop: the token is for alice, and names the agent as who acts', async (context) => {
  needServer(context);
  expect((await path.call(await path.task(), 'notes')).status).toBe(200);
  const { scheme, claims } = lastToken();
  expect(scheme).toBe('Bearer');
  expect(claims).toMatchObject({ iss: server.issuer, sub: 'alice', aud: 'notes', scope: ['notes.read'] });
  expect(claims['act']).toEqual({ iss: server.issuer, sub: 'agent' });
});

test('two hops: the worker acts for the agent, which acts for alice', async (context) => {
  needServer(context);
  expect((await path.callThroughWorker(await path.task(), 'vault')).status).toBe(200);
  const { scheme, claims } = lastToken();
  expect(scheme).toBe('DPoP');
  expect(claims).toMatchObject({ sub: 'alice', aud: 'vault' });
  const agent = { iss: server.issuer, sub: 'agent' };
  expect(claims['act']).toEqual({ iss: server.issuer, sub: 'worker', act: agent });
});

test('a token with a proof is bound to a key that is used for this task only', async (context) => {
  needServer(context);
  const keys: unknown[] = [];
  for (const task of [await path.task(), await path.task()]) {
    expect((await path.call(task, 'vault')).status).toBe(200);
    const { scheme, claims } = lastToken();
    expect(scheme).toBe('DPoP');
    keys.push((claims['cnf'] as { jkt?: string } | undefined)?.jkt);
  }
  expect(new Set(keys).size).toBe(2);
  expect(keys).not.toContain(undefined);
});

test('a scope that the client may not have is refused, and the tool hears nothing', async (context) => {
  needServer(context);
  const before = path.tool.seen.length;
  const answer = await path.call(await path.task(), 'unknown-scope');
  expect([answer.status, answer.code]).toEqual([403, 'exchange_refused']);
  expect(path.tool.seen.length).toBe(before);
});

test('a scope that alice never gave is granted to a client that may have it, and refused where the profile says so', async (context) => {
  needServer(context);
  const task = await path.task();
  // As it comes, the server looks at what the client may have, and not at what the subject token has.
  expect((await path.call(task, 'wider')).status).toBe(200);
  expect(lastToken().claims['scope']).toEqual(['notes.read', 'notes.write']);
  const before = path.tool.seen.length;
  const answer = await path.call(task, 'narrowed');
  expect([answer.status, answer.code]).toEqual([502, 'token_rejected']);
  expect(path.tool.seen.length).toBe(before);
  await eventually('it is recorded', () => rejectedAt(path.agent).some(({ tool }) => tool === 'narrowed'));
  expect(rejectedAt(path.agent).find(({ tool }) => tool === 'narrowed')?.['cause']).toBe('scope');
});

test('W5: a token whose actor is not us, or not those before us, is refused and taken back', async (context) => {
  needServer(context);
  const before = path.tool.seen.length;
  const task = await path.task();
  const direct = lies.filter((lie) => lie !== 'cuts-the-history');
  for (const name of [...direct, 'silent']) {
    const answer = await path.call(task, name);
    expect([name, answer.status, answer.code]).toEqual([name, 502, 'token_rejected']);
  }
  // At the first hop there is no history to cut, so that the lie is none.
  expect((await path.call(task, 'cuts-the-history')).status).toBe(200);
  for (const name of [...lies, 'silent']) {
    const answer = await path.callThroughWorker(task, name);
    expect([name, answer.status, answer.code]).toEqual([name, 502, 'token_rejected']);
  }
  expect(path.tool.seen.length).toBe(before + 1);
  for (const sidecar of [path.agent, path.worker]) {
    const series = 'waybill_revocations_total{cause="token_rejected",outcome="revoked"}';
    const isTold = async (): Promise<boolean> => {
      const { length } = rejectedAt(sidecar);
      return length >= 4 && (await sidecar.metric(series)) === length;
    };
    await eventually('all are revoked', isTold, 20_000);
    const rejected = rejectedAt(sidecar);
    const causes = rejected.filter(({ tool }) => tool !== 'narrowed').map(({ cause }) => cause);
    expect(causes.length).toBeGreaterThan(3);
    expect(new Set(causes)).toEqual(new Set(['actor']));
  }
});

test('the token is dead at the server when its task has ended', async (context) => {
  needServer(context);
  const task = await path.task();
  expect((await path.call(task, 'notes')).status).toBe(200);
  const { text } = lastToken();
  const isActive = async (): Promise<unknown> => {
    return (await server.ask('agent', '/oauth2/introspect', { token: text })).json['active'];
  };
  expect(await isActive()).toBe(true);
  await callOperator(path.agent.addresses.socket, 'POST', `/v1/tasks/${task.txn}/complete`, {});
  await eventually('it is revoked', async () => (await isActive()) === false, 20_000);
});

test('the word of the server itself, by introspection, is checked the same way', async (context) => {
  needServer(context);
  const task = await path.task();
  expect((await path.call(task, 'asked')).status).toBe(200);
  expect(lastToken().claims['act']).toEqual({ iss: server.issuer, sub: 'agent' });
  expect((await path.callThroughWorker(task, 'asked')).status).toBe(200);
  expect(lastToken().claims['act']).toMatchObject({ sub: 'worker', act: { sub: 'agent' } });
});

test('when alice took her token back, the next exchange is refused', async (context) => {
  needServer(context);
  const token = await server.login();
  const task = await openTask(path.agent, { subject_token: token });
  expect((await path.call(task, 'notes')).status).toBe(200);
  expect((await server.ask('web', '/oauth2/revoke', { token })).status).toBe(200);
  const answer = await path.call(task, 'vault');
  expect([answer.status, answer.code]).toEqual([403, 'grant_dead']);
});
