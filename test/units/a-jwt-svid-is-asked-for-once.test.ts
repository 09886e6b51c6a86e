import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { IdentityUnavailable } from '../../proxy/spiffe/identity-unavailable.ts';
import { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { openScriptedWorkloadApi, type ScriptedWorkloadApi } from '../fakes/scripted-workload-api.ts';
import { tries } from '../stage/tries.ts';

const authority = await openAuthority('example.org');
const sub = 'spiffe://example.org/agent';
const sso = 'https://sso.example.org';
let agent: ScriptedWorkloadApi;
let client: WorkloadApi;
let events: WorkloadApiEvent[];
/** Added to the clock of the client. */
let passedMs: number;

beforeEach(async () => {
  passedMs = 0;
  events = [];
  agent = await openScriptedWorkloadApi();
  agent.answers.FetchJWTSVID = (_count, request) => answer(request);
  client = openWorkloadApi({
    address: agent.address,
    now: () => Date.now() + passedMs,
    onEvent: (event) => events.push(event),
  });
  await eventually('the streams', () => agent.seen.length === 3);
});

afterEach(async () => {
  client.close();
  await agent.close();
});

function answer(request: unknown, changed: object = {}, lifeSeconds = 60) {
  const { audience } = request as { audience: string[] };
  const iat = Math.floor((Date.now() + passedMs) / 1000);
  const claims = { sub, aud: audience, iss: 'spiffe://example.org', iat, exp: iat + lifeSeconds, ...changed };
  return { messages: [{ svids: [{ spiffe_id: sub, svid: authority.issueJwt(claims) }] }] };
}

async function sendX509(...ids: readonly string[]): Promise<void> {
  const count = events.length;
  const bundle = authority.bundle().x509Der;
  const svids = ids.map(async (id) => {
    const { chainDer, keyDer } = await authority.issueX509(id, 3600);
    return { spiffe_id: id, x509_svid: chainDer, x509_svid_key: keyDer, bundle };
  });
  agent.push('FetchX509SVID', { svids: await Promise.all(svids) });
  await eventually('the SVIDs', () => events.length > count);
}

const calls = () => agent.seen.filter(({ method }) => method === 'FetchJWTSVID');

test('any number of askers make one call, and the next asker gets the same SVID', async () => {
  const svids = await Promise.all(Array.from({ length: 50 }, () => client.fetchJwtSvid(sso)));
  expect(new Set(svids).size).toBe(1);
  expect(await client.fetchJwtSvid(sso)).toBe(svids[0]);
  expect(calls()).toHaveLength(1);
  expect(client.identity()?.toString()).toBe(sub);
});

test('each audience has its own SVID, asked for alone', async () => {
  const [one, two] = await Promise.all([client.fetchJwtSvid(sso), client.fetchJwtSvid('https://other.example.org')]);
  expect(one.token()).not.toBe(two.token());
  expect(calls().map(({ request }) => request)).toEqual([
    { audience: [sso], spiffe_id: '' },
    { audience: ['https://other.example.org'], spiffe_id: '' },
  ]);
});

test('an SVID is renewed from half of its life', async () => {
  const first = await client.fetchJwtSvid(sso);
  passedMs = 25_000;
  expect(await client.fetchJwtSvid(sso)).toBe(first);
  passedMs = 31_000;
  const second = await client.fetchJwtSvid(sso);
  expect(second.token()).not.toBe(first.token());
  expect(calls()).toHaveLength(2);
});

test('an agent that fails takes nothing back: the SVID is used until it expires, and the agent is not pestered', async () => {
  const first = await client.fetchJwtSvid(sso);
  agent.answers.FetchJWTSVID = () => ({ end: status.UNAVAILABLE });
  passedMs = 40_000;
  expect(await client.fetchJwtSvid(sso)).toBe(first);
  expect(await client.fetchJwtSvid(sso)).toBe(first);
  expect(calls()).toHaveLength(2);
  passedMs = 61_000;
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'unavailable' });
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'unavailable' });
  expect(calls()).toHaveLength(3);
  passedMs = 62_500;
  await expect(client.fetchJwtSvid(sso)).rejects.toBeInstanceOf(IdentityUnavailable);
  expect(calls()).toHaveLength(4);
});

test('a denial drops the SVIDs of all audiences', async () => {
  await client.fetchJwtSvid(sso);
  agent.answers.FetchJWTSVID = () => ({ end: status.PERMISSION_DENIED });
  await expect(client.fetchJwtSvid('https://other.example.org')).rejects.toMatchObject({ reason: 'denied' });
  expect(client.identity()).toBeUndefined();
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'denied' });
});

test('an SVID that was asked for before the identity was lost is not used after', async () => {
  await sendX509(sub);
  agent.answers.FetchJWTSVID = (_count, request) => ({ ...answer(request), afterMs: 300 });
  const early = client.fetchJwtSvid(sso);
  await eventually('the call', () => calls().length === 1);
  agent.push('FetchX509SVID', { svids: [] });
  await eventually('the loss', () => client.x509() === undefined);
  await expect(early).rejects.toMatchObject({ reason: 'denied' });
  expect(client.identity()).toBeUndefined();
});

test('an SVID is asked for under the identity that X.509 gave, and one of another identity is not used', async () => {
  const other = 'spiffe://example.org/other';
  await client.fetchJwtSvid(sso);
  await sendX509(other);
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'unavailable' });
  expect(calls().at(-1)?.request).toEqual({ audience: [sso], spiffe_id: other });
  await sendX509(sub, other);
  expect((await client.fetchJwtSvid(sso)).spiffeId.toString()).toBe(sub);
});

test('an agent that hangs is waited for as long as was said', tries, async () => {
  agent.answers.FetchJWTSVID = () => ({});
  const start = performance.now();
  await expect(client.fetchJwtSvid(sso, 200)).rejects.toMatchObject({ reason: 'timeout' });
  expect(performance.now() - start).toBeLessThan(1000);
  expect(events).toEqual([{ kind: 'error', method: 'FetchJWTSVID', reason: 'timeout', detail: 'no answer in 200 ms' }]);
});

test('an agent that hangs holds nobody up who has an SVID, and its denial still ends that', tries, async () => {
  const first = await client.fetchJwtSvid(sso);
  agent.answers.FetchJWTSVID = () => ({ end: status.PERMISSION_DENIED, afterMs: 900 });
  passedMs = 40_000;
  const start = performance.now();
  const held = await Promise.all([client.fetchJwtSvid(sso), client.fetchJwtSvid(sso)]);
  expect(held).toEqual([first, first]);
  expect(await client.fetchJwtSvid(sso)).toBe(first);
  expect(performance.now() - start).toBeLessThan(600);
  expect(calls()).toHaveLength(2);
  await eventually('the denial', () => client.identity() === undefined);
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'denied' });
});

test('what was held while the agent hung is not given out once the identity is lost', async () => {
  await sendX509(sub);
  await client.fetchJwtSvid(sso);
  agent.answers.FetchJWTSVID = () => ({});
  passedMs = 40_000;
  const late = client.fetchJwtSvid(sso, 500);
  await eventually('the call', () => calls().length === 2);
  agent.push('FetchX509SVID', { svids: [] });
  await eventually('the loss', () => client.x509() === undefined);
  await expect(late).rejects.toBeInstanceOf(IdentityUnavailable);
});

test('a request that the agent calls wrong is not repeated', async () => {
  agent.answers.FetchJWTSVID = () => ({ end: status.INVALID_ARGUMENT });
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'rejected' });
  passedMs = 29_000;
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'rejected' });
  expect(calls()).toHaveLength(1);
});

test.each<[string, object, number?]>([
  ['for another audience', { aud: ['https://evil.example.org'] }],
  ['for a second audience too', { aud: [sso, 'https://evil.example.org'] }],
  ['for nobody', { aud: [] }],
  ['of another subject', { sub: 'spiffe://example.org/other' }],
  ['that has expired', {}, -1],
  ['without expiry', { exp: 'tomorrow' }],
])('an SVID %s is refused', async (_what, changed, lifeSeconds) => {
  agent.answers.FetchJWTSVID = (_count, request) => answer(request, changed, lifeSeconds);
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'malformed' });
  expect(events).toMatchObject([{ kind: 'error', method: 'FetchJWTSVID', reason: 'malformed' }]);
});

test.each(['', 'a.b', 'a.b.c', 'a.W10.c', 'a.e30.c d'])('the text %j is not taken for an SVID', async (svid) => {
  agent.answers.FetchJWTSVID = () => ({ messages: [{ svids: [{ spiffe_id: sub, svid }] }] });
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'malformed' });
});

test('an audience given as a single text is the same as a list of one', async () => {
  agent.answers.FetchJWTSVID = (_count, request) => answer(request, { aud: sso });
  expect((await client.fetchJwtSvid(sso)).spiffeId.toString()).toBe(sub);
});

test('a failure is remembered for its second, and not for the hour that the clock was set back', async () => {
  passedMs = 3_600_000;
  agent.answers.FetchJWTSVID = () => ({ end: status.UNAVAILABLE });
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'unavailable' });
  agent.answers.FetchJWTSVID = (_count, request) => answer(request);
  passedMs = 0;
  expect((await client.fetchJwtSvid(sso)).spiffeId.toString()).toBe(sub);
});
