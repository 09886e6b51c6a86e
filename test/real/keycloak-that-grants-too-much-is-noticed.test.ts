import { decodeJwt } from 'jose';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { type EchoTool, openEchoTool } from '../stage/echo-tool.ts';
import { startAgent, ticketsTool } from '../stage/keycloak-agent.ts';
import { type KeycloakStage, openingMs, openKeycloak, type Session } from '../stage/keycloak.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import {
  callOperator,
  openTask,
  removeFolder,
  type SidecarProcess,
  type StagedTask,
} from '../stage/sidecar-process.ts';

/** Sessions of users in the realm `brief`: long enough for a slow machine, and short enough to be waited for. */
const briefSeconds = 15;
const typ = ['at+jwt'];
let opened: KeycloakStage | { missing: string };
let echo: EchoTool;
const sidecars: Record<string, SidecarProcess> = {};

/** No realm has the policy that narrows. Agents of `brief` get tokens that outlive those of the users. */
beforeAll(async () => {
  opened = await openKeycloak([
    {
      name: 'loose',
      narrows: false,
      agents: [{ name: 'agent' }, { name: 'greedy', defaultScopes: ['tickets.write'] }],
    },
    { name: 'brief', narrows: false, agents: [{ name: 'late', lifeSeconds: 600 }], lifeSeconds: briefSeconds },
  ]);
  if ('missing' in opened) return;
  echo = await openEchoTool();
  const tool = (name: string, token: Record<string, unknown> = {}) => ({ [name]: ticketsTool(name, echo.port, token) });
  const services = {
    trusting: { expect: { typ, scopes: 'asked' } },
    strict: { expect: { typ, life: 'refuse' } },
  };
  const tools = {
    ...tool('read'),
    ...tool('more'),
    ...tool('short', { use_for: '1s' }),
    ...tool('write', { scopes: ['tickets.write'] }),
    ...tool('trusted', { from: 'trusting', scopes: ['tickets.write'] }),
    ...tool('strict', { from: 'strict' }),
  };
  for (const [name, realm] of Object.entries({ agent: 'loose', greedy: 'loose', late: 'brief' }))
    sidecars[name] = await startAgent(opened, { realm, name, tools, services });
}, openingMs);
afterAll(async () => {
  for (const sidecar of Object.values(sidecars)) {
    await sidecar.stop();
    removeFolder(sidecar.dir);
  }
  await echo?.close();
  if (opened !== undefined && 'close' in opened) await opened.close();
});

/** A task of alice, who may read tickets, at one of the agents. */
interface Work extends StagedTask {
  readonly sidecar: SidecarProcess;
  readonly session: Session;
  call(tool: string): Promise<RawAnswer>;
  events(name: string): Record<string, unknown>[];
}

async function begin(context: TestContext, agent: string): Promise<Work> {
  if ('missing' in opened) return context.skip(opened.missing);
  const sidecar = sidecars[agent];
  if (sidecar === undefined) throw new Error(`no agent ${agent}`);
  const session = await opened.signIn(agent === 'late' ? 'brief' : 'loose', ['tickets.read']);
  const task = await openTask(sidecar, { subject_token: session.accessToken });
  return {
    ...task,
    sidecar,
    session,
    call: (tool) => callThrough(sidecar.addresses.outbound, `http://${tool}.test/`, { handle: task.handle }),
    events: (name) => sidecar.events().filter(({ event, txn }) => event === name && txn === task.txn),
  };
}

/** The call is refused, the tool sees nothing, the token goes back, and record and metrics say so. */
async function expectRejected(work: Work, tool: string, service: string, cause: string): Promise<void> {
  const series = `waybill_exchanges_total{service="${service}",outcome="token_rejected"}`;
  const [before, seen] = [await work.sidecar.metric(series), echo.seen.length];
  const answer = await work.call(tool);
  expect([answer.status, answer.code, echo.seen.length]).toEqual([502, 'token_rejected', seen]);
  await eventually('it goes back', () => work.events('token.revoked').length === 1, 20_000);
  expect(work.events('token.rejected')).toMatchObject([{ service, tool, cause }]);
  expect(work.events('token.revoked')).toMatchObject([{ service, tool, cause: 'token_rejected' }]);
  expect(await work.sidecar.metric(series)).toBe(before + 1);
}

test('a scope that the user does not have: Keycloak grants it, and its token is refused, recorded and revoked', async (context) => {
  const work = await begin(context, 'agent');
  expect((await work.call('read')).status).toBe(200);
  await expectRejected(work, 'write', 'corp', 'scope');
  // Where the configuration says that Keycloak decides, it does.
  expect((await work.call('trusted')).status).toBe(200);
  const { authorization = '' } = echo.seen.at(-1)?.headers ?? {};
  expect(decodeJwt(authorization.slice('DPoP '.length))['scope']).toBe('tickets.write');
});

test('a scope that nobody asked for, by a default of the client, is refused as well', async (context) => {
  await expectRejected(await begin(context, 'greedy'), 'read', 'corp', 'scope');
});

test('a life beyond the user’s is refused where the configuration says so', async (context) => {
  await expectRejected(await begin(context, 'late'), 'strict', 'strict', 'lifetime');
});

test('by its profile it is cut to the user’s and told of, and from then on no call passes', async (context) => {
  const work = await begin(context, 'late');
  const end = (decodeJwt(work.session.accessToken).exp ?? 0) * 1000;
  expect((await work.call('read')).status).toBe(200);
  const { authorization = '' } = echo.seen.at(-1)?.headers ?? {};
  expect((decodeJwt(authorization.slice('DPoP '.length)).exp ?? 0) * 1000).toBeGreaterThan(end + 500_000);
  const cut = { service: 'corp', tool: 'read', credential: { expires_at: new Date(end).toISOString() } };
  await eventually('that is recorded', () => work.events('token.issued').length === 1);
  expect(work.events('token.cut')).toMatchObject([{ ...cut, cause: 'lifetime' }]);
  expect(work.events('token.issued')).toMatchObject([cut]);
  expect(await work.sidecar.metric('waybill_tokens_cut_total{service="corp"}')).toBe(1);
  await sleep(Math.max(0, end - Date.now()) + 100);
  const seen = echo.seen.length;
  for (const tool of ['read', 'more'])
    expect([(await work.call(tool)).code, echo.seen.length]).toEqual(['grant_dead', seen]);
  // The service would still take the token: it goes back with its task.
  await callOperator(work.sidecar.addresses.socket, 'POST', `/v1/tasks/${work.txn}/complete`);
  await eventually('it goes back', () => work.events('token.revoked').length === 1, 20_000);
});

test.for(['more', 'short'])(
  'after the logout of the user the next exchange, of tool %s, is refused and ends the task',
  async (tool, context) => {
    const work = await begin(context, 'agent');
    for (const name of ['read', 'short']) expect((await work.call(name)).status).toBe(200);
    await work.session.logOut();
    await sleep(1100);
    const seen = echo.seen.length;
    const answer = await work.call(tool);
    expect([answer.status, answer.code, echo.seen.length]).toEqual([403, 'grant_dead', seen]);
    const { body } = await callOperator(work.sidecar.addresses.socket, 'GET', `/v1/tasks/${work.txn}`);
    expect(body).toMatchObject({ state: 'revoked', cause: 'grant_dead' });
    // Its handle is a tombstone, and the token that was still good is used no more.
    for (const name of ['read', 'more', 'short']) expect((await work.call(name)).code).toBe('handle_ended');
    expect(echo.seen.length).toBe(seen);
    await eventually('what it held goes back', () => work.events('token.revoked').length >= 1, 20_000);
    expect(work.events('task.ended')).toMatchObject([{ state: 'revoked', cause: 'grant_dead', by: 'token_service' }]);
  },
);
