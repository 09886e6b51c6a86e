import { status } from '@grpc/grpc-js';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import type { WorkloadApiService } from '../../proxy/spiffe/service-definition.ts';
import { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { openScriptedWorkloadApi, type ScriptedWorkloadApi } from '../fakes/scripted-workload-api.ts';
import { tries } from '../stage/tries.ts';

const authority = await openAuthority('example.org');
let agent: ScriptedWorkloadApi;
let client: WorkloadApi | undefined;
let events: WorkloadApiEvent[];

beforeEach(async () => {
  agent = await openScriptedWorkloadApi();
  events = [];
});

afterEach(async () => {
  client?.close();
  await agent.close();
});

function open(address = agent.address): WorkloadApi {
  client = openWorkloadApi({ address, now: Date.now, onEvent: (event) => events.push(event) });
  return client;
}

async function svidAnswer(): Promise<object> {
  const { chainDer, keyDer } = await authority.issueX509('spiffe://example.org/agent', 60);
  const bundle = authority.bundle().x509Der;
  return { svids: [{ spiffe_id: 'spiffe://example.org/agent', x509_svid: chainDer, x509_svid_key: keyDer, bundle }] };
}

const callsOf = (method: keyof WorkloadApiService) => agent.seen.filter((call) => call.method === method);
const waitsOf = (method: keyof WorkloadApiService) =>
  events.flatMap((event) => (event.kind === 'error' && event.method === method ? [event.retryInMs] : []));

test('every call carries the security header', async () => {
  const api = open();
  await api.fetchJwtSvid('https://sso.example.org', 100).catch(() => undefined);
  await eventually('four calls', () => agent.seen.length === 4);
  expect(new Set(agent.seen.map(({ method }) => method)).size).toBe(4);
  for (const { header } of agent.seen) expect(header).toEqual(['true']);
});

test('a stream that had delivered is opened again at once, and not in a tight loop', async () => {
  const message = await svidAnswer();
  agent.answers.FetchX509SVID = () => ({ messages: [message], end: status.OK });
  open();
  await eventually('the third call', () => callsOf('FetchX509SVID').length === 3);
  const [first, second, third] = callsOf('FetchX509SVID').map(({ atMs }) => atMs);
  expect(second! - first!).toBeLessThan(500);
  expect(third! - second!).toBeGreaterThan(900);
  expect(waitsOf('FetchX509SVID').slice(0, 2)).toEqual([0, 1000]);
});

test('an agent that fails is asked after one second, then two, and a delivery starts the count anew', async () => {
  const message = await svidAnswer();
  agent.answers.FetchX509SVID = (count) =>
    count === 3 ? { messages: [message], end: status.UNAVAILABLE } : { end: status.UNAVAILABLE };
  const api = open();
  await eventually('the fourth call', () => waitsOf('FetchX509SVID').length === 4);
  expect(waitsOf('FetchX509SVID')).toEqual([1000, 2000, 0, 1000]);
  const [first, second, third] = callsOf('FetchX509SVID').map(({ atMs }) => atMs);
  expect(second! - first!).toBeGreaterThan(900);
  expect(third! - second!).toBeGreaterThan(1900);
  // An agent that is away takes nothing back.
  expect(api.identity()?.toString()).toBe('spiffe://example.org/agent');
});

test.each(['INVALID_ARGUMENT', 'UNIMPLEMENTED'] as const)('%s is reported and not tried again soon', async (name) => {
  agent.answers.FetchX509SVID = () => ({ end: status[name] });
  open();
  await sleep(1300);
  expect(callsOf('FetchX509SVID')).toHaveLength(1);
  expect(waitsOf('FetchX509SVID')).toEqual([30_000]);
});

test('a denial drops the SVID at once, and is not answered by asking at once', async () => {
  const message = await svidAnswer();
  agent.answers.FetchX509SVID = (count) => (count === 1 ? { messages: [message], end: status.PERMISSION_DENIED } : {});
  const api = open();
  await eventually('the loss', () => events.some(({ kind }) => kind === 'svid.lost'));
  expect([api.x509(), api.identity()]).toEqual([undefined, undefined]);
  expect(events.map(({ kind }) => kind)).toEqual(['svid.rotated', 'svid.lost', 'error']);
  expect(waitsOf('FetchX509SVID')).toEqual([1000]);
});

test('nothing is called after close', tries, async () => {
  agent.answers.FetchX509SVID = () => ({ end: status.UNAVAILABLE });
  const api = open();
  await eventually('the first failure', () => waitsOf('FetchX509SVID').length === 1);
  const hung = api.fetchJwtSvid('https://sso.example.org', 5000);
  await eventually('the call', () => callsOf('FetchJWTSVID').length === 1);
  const closedAt = performance.now();
  api.close();
  await expect(hung).rejects.toMatchObject({ reason: 'closed' });
  expect(performance.now() - closedAt).toBeLessThan(1000);
  await expect(api.fetchJwtSvid('https://sso.example.org', 5000)).rejects.toMatchObject({ reason: 'closed' });
  await sleep(1200);
  expect(callsOf('FetchX509SVID')).toHaveLength(1);
  expect(events.filter(({ kind }) => kind === 'error')).toHaveLength(1);
});

test('a proxy of the environment is never used', async () => {
  const overTcp = await openScriptedWorkloadApi('tcp');
  const before = { ...process.env };
  Object.assign(process.env, { grpc_proxy: 'http://127.0.0.1:9', http_proxy: 'http://127.0.0.1:9' });
  try {
    open(overTcp.address);
    await eventually('the calls', () => overTcp.seen.length === 3);
  } finally {
    process.env = before;
    client?.close();
    await overTcp.close();
  }
});
