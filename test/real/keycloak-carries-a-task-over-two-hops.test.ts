import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import type { DemoTool } from '../../proxy/embedded/demo-tool.ts';
import { eventually } from '../fakes/eventually.ts';
import { openTickets, startAgent, ticketsTool } from '../stage/keycloak-agent.ts';
import { type KeycloakStage, openingMs, openKeycloak, type Session } from '../stage/keycloak.ts';
import { callThrough, exchangeOn, exchangeRaw, type RawAnswer, requestBytes } from '../stage/raw-call.ts';
import { openTask, removeFolder, type SidecarProcess, type StagedTask } from '../stage/sidecar-process.ts';
import { type ClientCertificate, connectTls } from '../stage/tls-caller.ts';

const both = ['tickets.read', 'tickets.write'];
let opened: KeycloakStage | { missing: string };
let tickets: DemoTool;
let program: Server;
let planner: SidecarProcess;
let worker: SidecarProcess;
/** `Authorization` of the requests that reached the agent behind the worker's way in. */
const presented: string[] = [];

beforeAll(async () => {
  const agents = [{ name: 'planner', defaultScopes: ['to-worker'] }, { name: 'worker' }];
  opened = await openKeycloak([{ name: 'corp', narrows: true, agents }]);
  if ('missing' in opened) return;
  tickets = await openTickets(opened, 'corp');
  program = createServer((request, response) => {
    // An agent that reads tickets for whoever asks, with what its sidecar gave it.
    const { authorization = '' } = request.headers;
    presented.push(authorization);
    callThrough(worker.addresses.outbound, 'http://tickets.test/inbox', {
      headers: { Authorization: authorization },
    }).then(
      ({ status, body }) => response.writeHead(status).end(body),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((done) => program.listen(0, '127.0.0.1', done));
  const resource = opened.spiffeId('worker');
  const client = opened.spiffeId('planner');
  worker = await startAgent(opened, {
    realm: 'corp',
    name: 'worker',
    tools: { tickets: ticketsTool('tickets', new URL(tickets.url).port) },
    sections: {
      inbound: {
        origin: 'https://worker.test',
        resource,
        accept: [{ issuer: opened.issuer('corp'), proof: 'mtls', presenters: { [client]: client } }],
        callers: [client],
        chain: { require: true },
        forward_to: `http://127.0.0.1:${(program.address() as AddressInfo).port}`,
      },
    },
  });
  planner = await startAgent(opened, {
    realm: 'corp',
    name: 'planner',
    tools: {
      worker: {
        match: { host: 'worker.test' },
        dial: worker.addresses.inbound,
        token: { from: 'corp', audience: [resource], resource, scopes: ['tickets.read'] },
        tls: { spiffe_id: resource, client: 'svid' },
        delegate: { resources: [resource, 'http://tickets.test'], hops: 1 },
        chain: 'full',
      },
    },
  });
}, openingMs);
afterAll(async () => {
  for (const sidecar of [planner, worker]) {
    await sidecar?.stop();
    if (sidecar !== undefined) removeFolder(sidecar.dir);
  }
  program?.close();
  await tickets?.close();
  if (opened !== undefined && 'close' in opened) await opened.close();
});

function real(context: TestContext): KeycloakStage {
  return 'missing' in opened ? context.skip(opened.missing) : opened;
}

async function begin(keycloak: KeycloakStage): Promise<{ session: Session; task: StagedTask }> {
  const session = await keycloak.signIn('corp', both);
  return { session, task: await openTask(planner, { subject_token: session.accessToken }) };
}

/** As the planner's agent. */
function ask({ handle }: StagedTask): Promise<RawAnswer> {
  const { outbound } = planner.addresses;
  const headers = { Host: outbound, Authorization: `Bearer ${handle}` };
  return exchangeRaw(outbound, requestBytes('GET', '/tools/worker/answer', headers));
}

/** As a client of the worker that comes with this certificate and this token. */
async function knock(client: ClientCertificate, token: string): Promise<RawAnswer> {
  const socket = await connectTls(worker.addresses.inbound ?? '', client);
  try {
    const headers = { Host: 'worker.test', Authorization: `Bearer ${token}` };
    return await exchangeOn(socket, requestBytes('GET', '/answer', headers));
  } finally {
    socket.destroy();
  }
}

function admittedAt(sidecar: SidecarProcess, way: string): Record<string, unknown>[] {
  return sidecar.events().filter((event) => event['event'] === 'call.admitted' && event['way'] === way);
}

test('a call goes with a plain token by mTLS to the worker, and with a bound one of the worker to the tool', async (context) => {
  const keycloak = real(context);
  const [first, second] = [keycloak.spiffeId('planner'), keycloak.spiffeId('worker')];
  const { session, task } = await begin(keycloak);
  const answer = await ask(task);
  const { sub } = decodeJwt(session.accessToken);
  expect([answer.status, JSON.parse(answer.body)]).toMatchObject([
    200,
    { sub, aud: 'tickets-api', scope: 'tickets.read' },
  ]);
  expect(tickets.requests.at(-1)).toMatchObject({ scheme: 'DPoP', status: 200 });
  const user = { subject: { iss: keycloak.issuer('corp'), sub } };
  expect(admittedAt(planner, 'out')).toMatchObject([
    { ...user, tool: 'worker', chain: [first], credential: { audience: [second], scopes: ['tickets.read'] } },
  ]);
  expect(admittedAt(worker, 'in')).toMatchObject([{ ...user, caller: first, chain: [first], binding: 'key' }]);
  expect(admittedAt(worker, 'out')).toMatchObject([
    { ...user, tool: 'tickets', chain: [first, second], binding: 'key', proof: { kind: 'dpop' } },
  ]);
  // What the agent behind the worker's way in got says who the user is, and is good nowhere.
  expect(presented.length).toBe(1);
  for (const text of presented) {
    const inert = text.replace(/^Bearer /, '');
    expect(decodeJwt(inert)).toMatchObject({ iss: 'http://waybill.local', sub });
    expect((await fetch(tickets.url, { headers: { authorization: text } })).status).toBe(401);
    expect(await keycloak.introspect('corp', inert)).toEqual({ active: false });
  }
});

test('the plain token of the inner hop is good from the planner alone, and no other token is', async (context) => {
  const keycloak = real(context);
  const { accessToken } = await keycloak.signIn('corp', both);
  const audience = keycloak.spiffeId('worker');
  const inner = await keycloak.exchange('corp', 'planner', accessToken, { audience, scope: 'tickets.read' });
  const [own, thief] = [await keycloak.svidOf('planner'), await keycloak.svidOf('mallory')];
  const before = presented.length;
  const told = async (client: ClientCertificate, token: string): Promise<unknown> => {
    const { status, code } = await knock(client, token);
    return [status, code];
  };
  // The planner itself passes this check, and comes to the next: its request has no chain.
  expect(await told(own, inner)).toEqual([403, 'chain_missing']);
  expect(await told(thief, inner)).toEqual([401, 'token_foreign_presenter']);
  // A token of the frontend names the worker too, and Keycloak signed it.
  expect(await told(own, accessToken)).toEqual([401, 'token_invalid']);
  expect(presented.length).toBe(before);
});

test('after the logout of the user the worker’s exchange is refused, though the token of the inner hop has not ended', async (context) => {
  const { session, task } = await begin(real(context));
  expect((await ask(task)).status).toBe(200);
  await session.logOut();
  const seen = tickets.requests.length;
  const answer = await ask(task);
  expect([answer.status, answer.code, tickets.requests.length]).toEqual([403, undefined, seen]);
  expect(JSON.parse(answer.body)).toMatchObject({ code: 'grant_dead' });
  const [last] = admittedAt(worker, 'in').slice(-1);
  await eventually('the task of the request is over', () =>
    worker
      .events()
      .some(({ event, txn, cause }) => event === 'task.ended' && txn === last?.['txn'] && cause === 'grant_dead'),
  );
});
