import { status } from '@grpc/grpc-js';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { openScriptedWorkloadApi, type ScriptedWorkloadApi } from '../fakes/scripted-workload-api.ts';

const authority = await openAuthority('example.org');
const spiffeId = 'spiffe://example.org/agent';
const sso = 'https://sso.example.org';
let agent: ScriptedWorkloadApi;
let client: WorkloadApi;
let events: WorkloadApiEvent[];

beforeEach(async () => {
  events = [];
  agent = await openScriptedWorkloadApi();
});
afterEach(async () => {
  client.close();
  await agent.close();
});

function open(): void {
  client = openWorkloadApi({ address: agent.address, now: Date.now, onEvent: (event) => events.push(event) });
}

function jwtAnswer(request: unknown) {
  const { audience } = request as { audience: string[] };
  const iat = Math.floor(Date.now() / 1000);
  const claims = { sub: spiffeId, aud: audience, iss: 'spiffe://example.org', iat, exp: iat + 300 };
  return { messages: [{ svids: [{ spiffe_id: spiffeId, svid: authority.issueJwt(claims) }] }] };
}

async function x509Answer(ttlSeconds: number): Promise<object> {
  const { chainDer, keyDer } = await authority.issueX509(spiffeId, ttlSeconds);
  const bundle = authority.bundle().x509Der;
  return { svids: [{ spiffe_id: spiffeId, x509_svid: chainDer, x509_svid_key: keyDer, bundle }] };
}

test('no JWT-SVID outlives the X509-SVID that nobody renewed; a new one is asked for', async () => {
  const message = await x509Answer(2);
  agent.answers.FetchX509SVID = () => ({ messages: [message] });
  agent.answers.FetchJWTSVID = (_count, request) => jwtAnswer(request);
  open();
  await eventually('the identity', () => client.x509() !== undefined);
  const first = await client.fetchJwtSvid(sso);
  expect(await client.fetchJwtSvid(sso)).toBe(first);
  agent.answers.FetchJWTSVID = () => ({ end: status.UNAVAILABLE });
  await eventually('the end', () => events.some((event) => event.kind === 'svid.lost' && event.cause === 'expired'));
  expect(client.identity()).toBeUndefined();
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'unavailable' });
});

test('when the agent answers a call, the streams that wait for it are opened at once', async () => {
  for (const method of ['FetchX509SVID', 'FetchX509Bundles'] as const)
    agent.answers[method] = () => ({ end: status.UNAVAILABLE });
  agent.answers.FetchJWTBundles = () => ({ end: status.UNIMPLEMENTED });
  agent.answers.FetchJWTSVID = (_count, request) => jwtAnswer(request);
  open();
  const waits = () => events.flatMap((event) => (event.kind === 'error' ? [event.retryInMs ?? 0] : []));
  await eventually('the second failure', () => waits().filter((ms) => ms === 2000).length === 2);
  const message = await x509Answer(60);
  agent.answers.FetchX509SVID = () => ({ messages: [message] });
  const calls = (method: string) => agent.seen.filter((call) => call.method === method).length;
  const before = [calls('FetchX509SVID'), calls('FetchX509Bundles'), calls('FetchJWTBundles')];
  expect(before).toEqual([2, 2, 1]);
  await client.fetchJwtSvid(sso);
  await eventually('the identity', () => client.x509() !== undefined, 500);
  await eventually('the other stream', () => calls('FetchX509Bundles') === 3, 500);
  // What the agent cannot do it cannot do a moment later either.
  expect([calls('FetchX509SVID'), calls('FetchJWTBundles')]).toEqual([3, 1]);
  await client.fetchJwtSvid('https://other.example.org');
  expect(calls('FetchX509SVID')).toBe(3);
});

test('a connection that leads to nobody any more is given up when the SVID ends', async () => {
  await agent.close();
  agent = await openScriptedWorkloadApi('tcp');
  const port = Number(agent.address.split(':').at(-1));
  const sockets: Socket[] = [];
  // A network that forgets connections: nothing passes on them any more, and neither side is told.
  const network = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    near
      .on('error', () => undefined)
      .pipe(far.on('error', () => undefined))
      .pipe(near);
    sockets.push(near, far);
  });
  network.listen(0, '127.0.0.1');
  await eventually('the network', () => network.listening);
  const [brief, next] = [await x509Answer(2), await x509Answer(60)];
  agent.answers.FetchX509SVID = (count) => ({ messages: [count === 1 ? brief : next] });
  const address = `tcp://127.0.0.1:${(network.address() as AddressInfo).port}`;
  client = openWorkloadApi({ address, now: Date.now, onEvent: (event) => events.push(event) });
  await eventually('the identity', () => client.x509() !== undefined);
  for (const socket of sockets) socket.unpipe().pause();
  await eventually('the end', () => events.some((event) => event.kind === 'svid.lost'));
  await eventually('the next SVID', () => client.x509() !== undefined);
  expect(events.filter(({ kind }) => kind === 'error')).toEqual([]);
  for (const socket of sockets) socket.destroy();
  network.close();
});
