import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkX509Path } from '../../proxy/spiffe/x509-path.ts';
import { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { mintAuthority, mintLeaf } from '../fakes/certificate-mint.ts';
import { eventually } from '../fakes/eventually.ts';
import { mintListDer } from '../fakes/revocation-mint.ts';
import { openScriptedWorkloadApi, type ScriptedWorkloadApi } from '../fakes/scripted-workload-api.ts';

const root = await mintAuthority(undefined);
const leaf = await mintLeaf(root);
const other = await mintLeaf(root);
const bundles = [{ key: 'spiffe://example.org', value: root.der }];
let agent: ScriptedWorkloadApi;
let client: WorkloadApi;
let events: WorkloadApiEvent[];

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

async function push(method: 'FetchX509SVID' | 'FetchX509Bundles', message: object): Promise<void> {
  const count = events.length;
  agent.push(method, message);
  await eventually('news', () => events.length > count);
}

function isTrusted(): boolean {
  try {
    checkX509Path([leaf.der], (name) => client.x509Bundles().get(name), Date.now());
    return true;
  } catch {
    return false;
  }
}

test('lists are the full state: one that an answer no longer holds is gone', async () => {
  await push('FetchX509Bundles', { bundles, crl: [await mintListDer(root, [leaf])] });
  await eventually('the bundle', () => client.x509Bundles().size === 1);
  expect(isTrusted()).toBe(false);
  await push('FetchX509Bundles', { bundles, crl: [await mintListDer(root, [other])] });
  expect(isTrusted()).toBe(true);
  await push('FetchX509Bundles', { bundles, crl: [await mintListDer(root, [leaf, other])] });
  expect(isTrusted()).toBe(false);
  await push('FetchX509Bundles', { bundles });
  expect(isTrusted()).toBe(true);
});

test('lists of the SVID stream count too, beside those of the bundles', async () => {
  await push('FetchX509Bundles', { bundles, crl: [await mintListDer(root, [other])] });
  await eventually('the bundle', isTrusted);
  const key = leaf.privateKey.export({ type: 'pkcs8', format: 'der' });
  const svid = {
    spiffe_id: 'spiffe://example.org/agent',
    x509_svid: leaf.der,
    x509_svid_key: key,
    bundle: root.der,
  };
  agent.push('FetchX509SVID', { svids: [svid], crl: [await mintListDer(root, [leaf])] });
  await eventually('the list', () => !isTrusted());
  agent.push('FetchX509SVID', { svids: [svid] });
  await eventually('its end', isTrusted);
});

test('an identity that is denied lifts no revocation: the bundles may still be there', async () => {
  const key = leaf.privateKey.export({ type: 'pkcs8', format: 'der' });
  const svid = { spiffe_id: 'spiffe://example.org/agent', x509_svid: leaf.der, x509_svid_key: key, bundle: root.der };
  const list = await mintListDer(root, [leaf]);
  // The first call was that of the client before.
  agent.answers.FetchX509SVID = (count) =>
    count === 2
      ? { messages: [{ svids: [svid], crl: [list] }], end: status.UNAVAILABLE }
      : { end: status.PERMISSION_DENIED };
  client.close();
  client = openWorkloadApi({ address: agent.address, now: Date.now, onEvent: (event) => events.push(event) });
  await eventually('the end of the identity', () => events.some(({ kind }) => kind === 'svid.lost'));
  agent.push('FetchX509Bundles', { bundles });
  await eventually('the bundle', () => client.x509Bundles().size === 1);
  expect(isTrusted()).toBe(false);
});

test('the lists of an answer whose SVID had ended count as soon as that is taken up by a clock that was set back', async () => {
  const key = leaf.privateKey.export({ type: 'pkcs8', format: 'der' });
  const svid = { spiffe_id: 'spiffe://example.org/agent', x509_svid: leaf.der, x509_svid_key: key, bundle: root.der };
  const list = await mintListDer(root, [leaf]);
  agent.answers.FetchX509SVID = () => ({ messages: [{ svids: [svid], crl: [list] }] });
  agent.answers.FetchX509Bundles = () => ({ messages: [{ bundles }] });
  client.close();
  let aheadMs = 10 * 3_600_000;
  const now = (): number => Date.now() + aheadMs;
  client = openWorkloadApi({ address: agent.address, now, onEvent: (event) => events.push(event) });
  await eventually('a word about its end', () => events.some(({ kind }) => kind === 'error'));
  await eventually('the bundle', () => client.x509Bundles().size === 1);
  aheadMs = 0;
  await eventually('the SVID', () => client.x509() !== undefined);
  expect(isTrusted()).toBe(false);
});

test('an answer with a list that cannot be read is reported and ignored as a whole', async () => {
  await push('FetchX509Bundles', { bundles, crl: [await mintListDer(root, [leaf])] });
  await eventually('the bundle', () => client.x509Bundles().size === 1);
  const held = client.x509Bundles();
  await push('FetchX509Bundles', { bundles: [], crl: [Buffer.from('no list')] });
  expect(events.at(-1)).toMatchObject({ kind: 'error', method: 'FetchX509Bundles', reason: 'malformed' });
  expect(client.x509Bundles()).toBe(held);
});

test('an answer that says the same changes nothing', async () => {
  const crl = [await mintListDer(root, [leaf]), await mintListDer(root, [other])];
  await push('FetchX509Bundles', { bundles, crl });
  await eventually('the bundle', () => client.x509Bundles().size === 1);
  const [held, count] = [client.x509Bundles().get('example.org'), events.length];
  agent.push('FetchX509Bundles', { bundles, crl: crl.toReversed() });
  // Something that does change things, on the same stream: what came before it has been read.
  await push('FetchX509Bundles', { bundles: [...bundles, { ...bundles[0], key: 'spiffe://other.org' }], crl });
  expect(events.slice(count)).toEqual([{ kind: 'bundle.updated', profile: 'x509', trustDomains: ['other.org'] }]);
  expect(client.x509Bundles().get('example.org')?.revocations).toBe(held?.revocations);
});
