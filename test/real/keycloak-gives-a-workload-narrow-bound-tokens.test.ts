import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, type JWTPayload } from 'jose';
import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import type { DemoTool } from '../../proxy/embedded/demo-tool.ts';
import { eventually } from '../fakes/eventually.ts';
import { type EchoTool, openEchoTool } from '../stage/echo-tool.ts';
import { type KeycloakAgent, openTickets, startAgent, ticketsTool } from '../stage/keycloak-agent.ts';
import { type KeycloakStage, openingMs, openKeycloak } from '../stage/keycloak.ts';
import { callThrough, exchangeRaw, type RawAnswer, requestBytes } from '../stage/raw-call.ts';
import {
  callOperator,
  openTask,
  removeFolder,
  type SidecarProcess,
  type StagedTask,
} from '../stage/sidecar-process.ts';

const both = ['tickets.read', 'tickets.write'];
let opened: KeycloakStage | { missing: string };
let tickets: DemoTool;
let echo: EchoTool;
let agent: SidecarProcess;
const sidecars: SidecarProcess[] = [];

beforeAll(async () => {
  const acts = { claim: 'act', value: { sub: 'spiffe://example.org/acting' } };
  const agents = [
    { name: 'agent' },
    { name: 'acting', defaultScopes: ['acts'] },
    { name: 'mistaken', defaultScopes: ['acts'] },
  ];
  opened = await openKeycloak([{ name: 'corp', narrows: true, agents, fixedClaims: { acts } }]);
  if ('missing' in opened) return;
  tickets = await openTickets(opened, 'corp');
  echo = await openEchoTool();
  const { port } = new URL(tickets.url);
  agent = await start({
    name: 'agent',
    tools: {
      tickets: ticketsTool('tickets', port),
      seen: ticketsTool('seen', echo.port),
      writing: ticketsTool('writing', echo.port, { scopes: both }),
      asked: ticketsTool('asked', echo.port, { from: 'asked' }),
    },
    services: { asked: { verify: 'introspect' } },
    sections: {
      inbound: {
        origin: 'http://agent.localhost',
        resource: opened.spiffeId('agent'),
        accept: [{ issuer: opened.issuer('corp'), unsafe_bearer: true, introspect: 'corp' }],
        forward_to: `http://127.0.0.1:${echo.port}`,
      },
    },
  });
}, openingMs);
afterAll(async () => {
  for (const sidecar of sidecars) {
    await sidecar.stop();
    removeFolder(sidecar.dir);
  }
  await tickets?.close();
  await echo?.close();
  if (opened !== undefined && 'close' in opened) await opened.close();
});

/** The Keycloak; without one the test is skipped. */
function real(context: TestContext): KeycloakStage {
  return 'missing' in opened ? context.skip(opened.missing) : opened;
}

async function start(settings: Omit<KeycloakAgent, 'realm'>): Promise<SidecarProcess> {
  if ('missing' in opened) throw new Error(opened.missing);
  const sidecar = await startAgent(opened, { realm: 'corp', ...settings });
  sidecars.push(sidecar);
  return sidecar;
}

/** Opens a task for alice, who has both scopes unless others are given. */
async function taskOf(keycloak: KeycloakStage, sidecar = agent, scopes = both): Promise<StagedTask> {
  const { accessToken } = await keycloak.signIn('corp', scopes);
  return openTask(sidecar, { subject_token: accessToken });
}

function call(task: StagedTask, tool: string, sidecar = agent): Promise<RawAnswer> {
  return callThrough(sidecar.addresses.outbound, `http://${tool}.test/inbox`, { handle: task.handle });
}

/** The token of the newest call that the echo tool saw. */
function tokenSeen(): string {
  return String(echo.seen.at(-1)?.headers.authorization).split(' ')[1] ?? '';
}

function eventsOf(task: StagedTask, name: string, sidecar = agent): Record<string, unknown>[] {
  return sidecar.events().filter(({ event, txn }) => event === name && txn === task.txn);
}

test('an exchanged token is for one tool, with its scopes only, short, and bound to the key of its proofs', async (context) => {
  const keycloak = real(context);
  const { accessToken } = await keycloak.signIn('corp', both);
  const user = decodeJwt(accessToken);
  expect([String(user['scope']).split(' ').toSorted(), user['cnf']]).toEqual([both, undefined]);
  const task = await openTask(agent, { subject_token: accessToken });
  expect((await call(task, 'seen')).status).toBe(200);
  const { authorization = '', dpop } = echo.seen.at(-1)?.headers ?? {};
  const token = authorization.replace(/^DPoP /, '');
  const claims: JWTPayload = decodeJwt(token);
  const { jwk } = decodeProtectedHeader(String(dpop));
  expect(decodeProtectedHeader(token)).toMatchObject({ typ: 'at+jwt', alg: 'ES256' });
  expect(claims).toMatchObject({
    iss: keycloak.issuer('corp'),
    sub: user.sub,
    aud: 'tickets-api',
    scope: 'tickets.read',
    azp: keycloak.spiffeId('agent'),
    cnf: { jkt: await calculateJwkThumbprint(jwk ?? {}) },
  });
  expect((claims.exp ?? Infinity) - (claims.iat ?? 0)).toBeLessThanOrEqual(60);
});

test('a tool that checks proofs takes each call, and the token without its key not at all', async (context) => {
  const task = await taskOf(real(context));
  for (let count = 0; count < 3; count += 1) {
    const answer = await call(task, 'tickets');
    expect([answer.status, JSON.parse(answer.body)]).toMatchObject([
      200,
      { aud: 'tickets-api', scope: 'tickets.read' },
    ]);
  }
  const used = tickets.requests.slice(-3);
  expect(used).toMatchObject(Array.from({ length: 3 }, () => ({ scheme: 'DPoP', status: 200 })));
  expect(new Set(used.map(({ tokenId }) => tokenId)).size).toBe(1);
  await call(task, 'seen');
  const stolen = await fetch(tickets.url, { headers: { authorization: `Bearer ${tokenSeen()}` } });
  expect(stolen.status).toBe(401);
});

test('what the user does not have is not exchanged: the policy of the realm says no', async (context) => {
  const task = await taskOf(real(context), agent, ['tickets.read']);
  const answer = await call(task, 'writing');
  expect([answer.status, answer.code]).toEqual([403, 'exchange_refused']);
  // The rest of the task goes on.
  expect((await call(task, 'seen')).status).toBe(200);
  expect(eventsOf(task, 'token.rejected')).toEqual([]);
});

test('Keycloak itself is asked of a token that it issued, and takes it back at the end of the task', async (context) => {
  const keycloak = real(context);
  const task = await taskOf(keycloak);
  expect((await call(task, 'asked')).status).toBe(200);
  const asked = tokenSeen();
  expect((await call(task, 'seen')).status).toBe(200);
  const seen = tokenSeen();
  for (const token of [asked, seen]) expect(await keycloak.introspect('corp', token)).toMatchObject({ active: true });
  const ended = await callOperator(agent.addresses.socket, 'POST', `/v1/tasks/${task.txn}/complete`);
  expect(ended.body).toMatchObject({ state: 'completed', credentials_dropped: 2, revocations_queued: 2 });
  await eventually('both are revoked', () => eventsOf(task, 'token.revoked').length === 2, 20_000);
  for (const token of [asked, seen]) expect(await keycloak.introspect('corp', token)).toEqual({ active: false });
});

test('the actor that a mapper of Keycloak names has to be the agent itself', async (context) => {
  const keycloak = real(context);
  const self = { services: { strict: { expect: { typ: ['at+jwt'], act: 'self' } } } };
  const tools = {
    seen: ticketsTool('seen', echo.port, { from: 'strict' }),
    // The profile expects no actor, since Keycloak names none by itself.
    lenient: ticketsTool('lenient', echo.port),
  };
  const acting = await start({ name: 'acting', tools, ...self });
  const good = await taskOf(keycloak, acting);
  expect((await call(good, 'seen', acting)).status).toBe(200);
  expect(decodeJwt(tokenSeen())['act']).toEqual({ sub: keycloak.spiffeId('acting') });
  const mistaken = await start({ name: 'mistaken', tools, ...self });
  const bad = await taskOf(keycloak, mistaken);
  const answer = await call(bad, 'seen', mistaken);
  expect([answer.status, answer.code]).toEqual([502, 'token_rejected']);
  await eventually('it goes back', () => eventsOf(bad, 'token.revoked', mistaken).length === 1, 20_000);
  expect(eventsOf(bad, 'token.rejected', mistaken)).toMatchObject([{ service: 'strict', cause: 'actor' }]);
  expect((await call(bad, 'lenient', mistaken)).status).toBe(200);
});

test('on the way in, a token of a session that is over does not count, though its signature does', async (context) => {
  const keycloak = real(context);
  const [alive, over] = [await keycloak.signIn('corp'), await keycloak.signIn('corp')];
  const enter = (token: string): Promise<RawAnswer> =>
    exchangeRaw(
      agent.addresses.inbound ?? '',
      requestBytes('GET', '/hello', { Host: 'agent.localhost', Authorization: `Bearer ${token}` }),
    );
  expect((await enter(alive.accessToken)).status).toBe(200);
  await over.logOut();
  const answer = await enter(over.accessToken);
  expect([answer.status, answer.code]).toEqual([401, 'token_invalid']);
});
