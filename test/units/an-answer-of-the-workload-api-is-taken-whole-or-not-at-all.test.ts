import { generateKeyPairSync } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { withoutEnd } from '../fakes/certificate-mint.ts';
import { eventually } from '../fakes/eventually.ts';
import { openScriptedWorkloadApi, type ScriptedWorkloadApi } from '../fakes/scripted-workload-api.ts';

const authority = await openAuthority('example.org');
const { x509Der: bundle } = authority.bundle();
const agentId = 'spiffe://example.org/agent';
let agent: ScriptedWorkloadApi;
let client: WorkloadApi;
let events: WorkloadApiEvent[];

interface SvidMessage {
  readonly spiffe_id: string;
  readonly x509_svid: Buffer;
  readonly x509_svid_key: Buffer;
  readonly bundle: Buffer;
  readonly hint?: string;
}

beforeEach(async () => {
  agent = await openScriptedWorkloadApi();
  events = [];
  client = openWorkloadApi({ address: agent.address, now: Date.now, onEvent: (event) => events.push(event) });
  await eventually('the streams', () => agent.seen.length === 3);
});

afterEach(async () => {
  client.close();
  await agent.close();
});

async function issue(spiffe_id = agentId, ttlSeconds = 60): Promise<SvidMessage> {
  const { chainDer, keyDer } = await authority.issueX509(spiffe_id, ttlSeconds);
  return { spiffe_id, x509_svid: chainDer, x509_svid_key: keyDer, bundle };
}

async function send(...svids: readonly SvidMessage[]): Promise<void> {
  const count = events.length;
  agent.push('FetchX509SVID', { svids });
  await eventually('news', () => events.length > count);
}

const detailOf = (event: WorkloadApiEvent | undefined) => (event?.kind === 'error' ? event.detail : undefined);

const broken: readonly (readonly [string, string, (svid: SvidMessage, other: SvidMessage) => SvidMessage])[] = [
  ['an empty SPIFFE ID', 'without a valid SPIFFE ID', (svid) => ({ ...svid, spiffe_id: '' })],
  ['an ID without path', 'without a valid SPIFFE ID', (svid) => ({ ...svid, spiffe_id: 'spiffe://example.org' })],
  ['an empty chain', 'is empty', (svid) => ({ ...svid, x509_svid: Buffer.alloc(0) })],
  ['a chain cut short', 'is cut short', (svid) => ({ ...svid, x509_svid: svid.x509_svid.subarray(0, -1) })],
  [
    'a byte after the chain',
    'is not a DER sequence',
    (svid) => ({ ...svid, x509_svid: Buffer.concat([svid.x509_svid, Buffer.from([0x30])]) }),
  ],
  ['an endless length', 'no valid DER length', (svid) => ({ ...svid, x509_svid: Buffer.from('30800000', 'hex') })],
  ['no certificate', 'cannot be parsed', (svid) => ({ ...svid, x509_svid: Buffer.from('3000', 'hex') })],
  ['an empty key', 'key of an X509-SVID cannot be parsed', (svid) => ({ ...svid, x509_svid_key: Buffer.alloc(0) })],
  ['the key of another', 'does not belong', (svid, other) => ({ ...svid, x509_svid_key: other.x509_svid_key })],
  ['an empty bundle', 'without its bundle', (svid) => ({ ...svid, bundle: Buffer.alloc(0) })],
  ['another ID', 'names another SPIFFE ID', (svid) => ({ ...svid, spiffe_id: 'spiffe://example.org/other' })],
  ['an end that is no date', 'a date that is none', (svid) => ({ ...svid, x509_svid: withoutEnd(svid.x509_svid) })],
  ['an authority as leaf', 'is a certificate authority', (svid) => ({ ...svid, x509_svid: bundle })],
];

test.each(broken)('an answer with %s is reported and ignored, and what is held stays', async (_what, detail, spoil) => {
  await send(await issue());
  const held = client.x509();
  // The good one comes first: half an answer must not be used either.
  await send(await issue(), spoil(await issue('spiffe://example.org/two'), await issue()));
  expect(events.at(-1)).toMatchObject({ kind: 'error', method: 'FetchX509SVID', reason: 'malformed' });
  expect(detailOf(events.at(-1))).toContain(detail);
  expect(events.at(-1)).not.toHaveProperty('retryInMs');
  expect(client.x509()).toBe(held);
  expect(agent.seen).toHaveLength(3);
});

test('the first SVID is the default, and one that an answer no longer holds is gone', async () => {
  const [first, second] = [await issue(), { ...(await issue('spiffe://example.org/two')), hint: 'two' }];
  await send(first, second);
  expect(client.x509()?.svids.map(({ spiffeId, hint }) => [spiffeId.toString(), hint])).toEqual([
    [agentId, undefined],
    ['spiffe://example.org/two', 'two'],
  ]);
  expect(client.identity()?.toString()).toBe(agentId);
  await send(second);
  expect(client.identity()?.toString()).toBe('spiffe://example.org/two');
  expect(client.x509()?.svids).toHaveLength(1);
});

test('of two SVIDs with one hint the first counts', async () => {
  const [one, two] = [await issue('spiffe://example.org/one'), await issue('spiffe://example.org/two')];
  await send({ ...one, hint: 'same' }, { ...two, hint: 'same' });
  expect(client.x509()?.svids.map(({ spiffeId }) => spiffeId.path)).toEqual(['/one']);
});

test('an answer without SVIDs takes all of them back', async () => {
  await send(await issue());
  await send();
  expect(client.x509()).toBeUndefined();
  expect(events.find(({ kind }) => kind === 'svid.lost')).toEqual({
    kind: 'svid.lost',
    spiffeId: agentId,
    cause: 'redacted',
  });
});

test('an SVID that nobody renews is gone when it expires', async () => {
  await send(await issue(agentId, 2));
  expect(client.x509()).toBeDefined();
  await eventually('the loss', () => events.at(-1)?.kind === 'svid.lost');
  expect(events.at(-1)).toMatchObject({ cause: 'expired' });
  expect(client.x509()).toBeUndefined();
  await send(await issue(agentId, -1));
  expect(detailOf(events.at(-1))).toBe('the X509-SVID has expired');
});

test('the clock alone ends an SVID, whether or not a timer ran', async () => {
  let now = Date.now();
  const api = openWorkloadApi({ address: agent.address, now: () => now, onEvent: () => undefined });
  await eventually('the streams', () => agent.seen.length === 6);
  agent.push('FetchX509SVID', { svids: [await issue()] });
  await eventually('the SVID', () => api.x509() !== undefined);
  now += 61_000;
  expect(api.x509()).toBeUndefined();
  api.close();
});

test('bundles are replaced as a whole: what an answer does not name is no longer trusted', async () => {
  const other = (await openAuthority('other.org')).bundle().x509Der;
  const entries = [
    { key: 'spiffe://example.org', value: Buffer.concat([bundle, other]) },
    { key: 'spiffe://other.org', value: other },
  ];
  agent.push('FetchX509Bundles', { bundles: entries });
  await eventually('both', () => client.x509Bundles().size === 2);
  expect(client.x509Bundles().get('example.org')?.authorities).toEqual([bundle, other]);
  agent.push('FetchX509Bundles', { bundles: entries.slice(0, 1) });
  await eventually('one', () => client.x509Bundles().size === 1);
  expect(events).toEqual([
    { kind: 'bundle.updated', profile: 'x509', trustDomains: ['example.org', 'other.org'] },
    { kind: 'bundle.updated', profile: 'x509', trustDomains: ['other.org'] },
  ]);
  agent.push('FetchX509Bundles', { bundles: [] });
  await eventually('the report', () => detailOf(events.at(-1)) === 'the answer holds no bundle');
  expect(client.x509Bundles().size).toBe(0);
});

const jwk = (kid: string) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { kty: 'EC', kid, ...publicKey.export({ format: 'jwk' }) };
};
const jwks = (...keys: readonly object[]) => Buffer.from(JSON.stringify({ keys }));

test.each([
  ['two bundles of one trust domain', [{ key: 'spiffe://example.org', value: jwks(jwk('evil')) }]],
  ['a name that is no trust domain', [{ key: 'example.org', value: jwks(jwk('evil')) }]],
  ['a bundle that is no JSON', [{ key: 'spiffe://other.org', value: Buffer.from('secret') }]],
  ['a bundle without keys', [{ key: 'spiffe://other.org', value: Buffer.from('{}') }]],
  ['two keys of one kid', [{ key: 'spiffe://other.org', value: jwks(jwk('same'), jwk('same')) }]],
])('an answer with %s is reported and ignored', async (_what, added) => {
  const good = { key: 'spiffe://example.org', value: jwks(jwk('good')) };
  agent.push('FetchJWTBundles', { bundles: [good] });
  await eventually('the bundle', () => client.jwtBundles().size === 1);
  agent.push('FetchJWTBundles', { bundles: [good, ...added] });
  await eventually('the report', () => events.at(-1)?.kind === 'error');
  expect(detailOf(events.at(-1))).not.toContain('secret');
  expect([...client.jwtBundles()].map(([name, keys]) => [name, keys.map(({ kid }) => kid)])).toEqual([
    ['example.org', ['good']],
  ]);
});

test('the same keys in another order are no news, and an empty list revokes all keys of its trust domain', async () => {
  const [one, two] = [jwk('one'), jwk('two')];
  const sendKeys = (...keys: readonly object[]) =>
    agent.push('FetchJWTBundles', { bundles: [{ key: 'spiffe://example.org', value: jwks(...keys) }] });
  sendKeys(one, two);
  await eventually('the keys', () => client.jwtBundles().size === 1);
  const held = client.jwtBundles();
  sendKeys(two, one);
  sendKeys();
  await eventually('the revocation', () => client.jwtBundles().get('example.org')?.length === 0);
  expect(held.get('example.org')).toHaveLength(2);
  expect(events).toHaveLength(2);
});
