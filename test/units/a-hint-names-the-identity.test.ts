import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { openScriptedWorkloadApi, type ScriptedWorkloadApi } from '../fakes/scripted-workload-api.ts';

const authority = await openAuthority('example.org');
const { x509Der: bundle } = authority.bundle();
const [one, two, three] = ['one', 'two', 'three'].map((name) => `spiffe://example.org/${name}`) as [
  string,
  string,
  string,
];
let agent: ScriptedWorkloadApi;
let client: WorkloadApi;
let events: WorkloadApiEvent[];

beforeEach(async () => {
  agent = await openScriptedWorkloadApi();
  events = [];
  client = openWorkloadApi({
    address: agent.address,
    hint: 'main',
    now: Date.now,
    onEvent: (event) => events.push(event),
  });
  await eventually('the streams', () => agent.seen.length === 3);
});

afterEach(async () => {
  client.close();
  await agent.close();
});

async function send(...svids: readonly (readonly [string, string])[]): Promise<void> {
  const count = events.length;
  const messages = svids.map(async ([spiffe_id, hint]) => {
    const { chainDer, keyDer } = await authority.issueX509(spiffe_id, 60);
    return { spiffe_id, x509_svid: chainDer, x509_svid_key: keyDer, bundle, hint };
  });
  agent.push('FetchX509SVID', { svids: await Promise.all(messages) });
  await eventually('news', () => events.length > count);
}

const jwtOf = (spiffe_id: string, hint: string, lifeSeconds = 60) => {
  const iat = Math.floor(Date.now() / 1000);
  const svid = authority.issueJwt({ sub: spiffe_id, aud: ['a'], iss: 'x', iat, exp: iat + lifeSeconds });
  return { spiffe_id, svid, hint };
};

test('of several SVIDs the one with the hint is ours, and of two with it the first', async () => {
  await send([one, 'other'], [two, 'main'], [three, 'main']);
  expect(client.x509()?.default.spiffeId.toString()).toBe(two);
  expect(client.identity()?.toString()).toBe(two);
  expect(client.x509()?.svids.map(({ spiffeId }) => spiffeId.toString())).toEqual([two, one]);
  expect(events.find(({ kind }) => kind === 'svid.rotated')).toMatchObject({ spiffeId: two });
});

test('without an SVID of the hint there is no identity, whatever others are there', async () => {
  await send([one, 'other'], [two, '']);
  expect(client.identity()).toBeUndefined();
  await send([one, 'other'], [two, 'main']);
  expect(client.identity()?.toString()).toBe(two);
  await send([one, 'other']);
  expect(client.identity()).toBeUndefined();
  expect(events.find(({ kind }) => kind === 'svid.lost')).toMatchObject({ spiffeId: two, cause: 'redacted' });
  expect(events.at(-1)).toMatchObject({ reason: 'denied', detail: 'the answer holds no X509-SVID with our hint' });
});

test('a JWT-SVID is chosen by the same hint, and no other is used in its place', async () => {
  agent.answers.FetchJWTSVID = () => ({
    messages: [{ svids: [jwtOf(one, 'other'), jwtOf(two, 'main'), jwtOf(three, 'main')] }],
  });
  expect((await client.fetchJwtSvid('a')).spiffeId.toString()).toBe(two);
  expect(client.identity()?.toString()).toBe(two);
  await send([two, 'main']);
  expect((await client.fetchJwtSvid('a')).spiffeId.toString()).toBe(two);
  agent.answers.FetchJWTSVID = () => ({ messages: [{ svids: [jwtOf(two, 'other')] }] });
  await expect(client.fetchJwtSvid('b')).rejects.toMatchObject({ reason: 'denied' });
  expect(events.at(-1)).toMatchObject({ kind: 'error', method: 'FetchJWTSVID', reason: 'denied' });
});
