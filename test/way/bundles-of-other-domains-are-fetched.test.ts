import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { EndpointUnavailable, fetchBundle, type EndpointProfile } from '../../proxy/spiffe/bundle-endpoint.ts';
import { FederatedBundle } from '../../proxy/spiffe/federated-bundle.ts';
import { SpiffeId } from '../../proxy/spiffe/spiffe-id.ts';
import { dialHere, openBundleEndpoint, pem } from '../fakes/bundle-endpoint.ts';
import { mintAuthority, mintLeaf } from '../fakes/certificate-mint.ts';
import { bundleOf } from '../fakes/trust-bundle.ts';

const web = await mintAuthority(undefined, { uris: [] });
const webLeaf = await mintLeaf(web, { uris: [], dns: ['bundles.partner.org'] });
const partner = await openAuthority('partner.org');
const stranger = await openAuthority('stranger.org');
const webServer = await openBundleEndpoint([webLeaf.der], webLeaf.privateKey);
const server = await openBundleEndpoint([webLeaf.der], webLeaf.privateKey);
const webProfile: EndpointProfile = { kind: 'https_web', ca: pem(web.der) };
const endpointId = SpiffeId.parse('spiffe://partner.org/spire/server');
const jwt = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' });
const documentOf = (authorities: readonly Buffer[], more: object = {}): string =>
  JSON.stringify({
    keys: [
      ...authorities.map((der) => ({ use: 'x509-svid', kty: 'EC', x5c: [der.toString('base64')] })),
      { ...jwt, use: 'jwt-svid', kid: 'one' },
      { ...jwt, use: 'wit-svid', kid: 'two' },
      { kty: 'LATTICE', use: 'x509-svid' },
    ],
    ...more,
  });
const trusted = documentOf([partner.bundle().x509Der]);

afterAll(() => {
  webServer.close();
  server.close();
});

beforeEach(() => {
  webServer.answer = { body: trusted };
  server.answer = { body: trusted };
});

const webUrl = (path = '/bundle') => new URL(`https://bundles.partner.org:${webServer.port}${path}`);

async function faultOf(fetched: Promise<unknown>): Promise<string> {
  try {
    await fetched;
    return 'ok';
  } catch (error) {
    if (error instanceof EndpointUnavailable) return error.fault;
    throw error;
  }
}

test('https_web: the document comes by the Web PKI and the name, without anything of ours', async () => {
  const dialled: string[] = [];
  const document = await fetchBundle(webUrl('/b?x=1'), webProfile, dialHere(dialled));
  expect(document.toString()).toBe(trusted);
  expect(dialled).toEqual([`bundles.partner.org:${webServer.port}`]);
  const [seen] = webServer.seen.slice(-1);
  expect(Object.keys(seen ?? {}).toSorted()).toEqual(['accept', 'connection', 'host', 'url']);
  expect(seen?.['url']).toBe('/b?x=1');
  const otherName = new URL(`https://other.partner.org:${webServer.port}/`);
  expect(await faultOf(fetchBundle(otherName, webProfile, dialHere()))).toBe('tls');
  expect(await faultOf(fetchBundle(webUrl(), { kind: 'https_web', ca: undefined }, dialHere()))).toBe('tls');
  // Node would take an empty text for none, and trust the whole Web PKI.
  for (const ca of ['', '\n', 'x']) {
    const asked: string[] = [];
    expect(await faultOf(fetchBundle(webUrl(), { kind: 'https_web', ca }, dialHere(asked)))).toBe('tls');
    expect(asked).toEqual([]);
  }
});

test('no redirect is followed, no other status taken, and nothing but https asked', async () => {
  webServer.answer = { status: 302, headers: { location: webUrl('/moved').href }, body: '' };
  const count = webServer.seen.length;
  expect(await faultOf(fetchBundle(webUrl(), webProfile, dialHere()))).toBe('status');
  expect(webServer.seen).toHaveLength(count + 1);
  webServer.answer = { status: 500, body: trusted };
  expect(await faultOf(fetchBundle(webUrl(), webProfile, dialHere()))).toBe('status');
  const dialled: string[] = [];
  for (const href of [`http://127.0.0.1:${webServer.port}/`, webUrl().href.replace('//', '//user:word@')]) {
    expect(await faultOf(fetchBundle(new URL(href), webProfile, dialHere(dialled)))).toBe('tls');
  }
  expect(dialled).toEqual([]);
});

test('an answer has an end and a size', async () => {
  webServer.answer = { body: ' '.repeat(1024 * 1024) };
  expect(await faultOf(fetchBundle(webUrl(), webProfile, dialHere()))).toBe('ok');
  webServer.answer = { body: ' '.repeat(1024 * 1024 + 1) };
  expect(await faultOf(fetchBundle(webUrl(), webProfile, dialHere()))).toBe('oversize');
  webServer.answer = { body: trusted, cut: true };
  expect(await faultOf(fetchBundle(webUrl(), webProfile, dialHere()))).toBe('unreachable');
  webServer.answer = { body: trusted, hang: true };
  expect(await faultOf(fetchBundle(webUrl(), webProfile, dialHere()))).toBe('timeout');
}, 15_000);

test('https_spiffe: the endpoint shows the expected SVID of a trusted authority, under whatever host name', async () => {
  const profile = (...authorities: readonly Buffer[]): EndpointProfile => ({
    kind: 'https_spiffe',
    spiffeId: endpointId,
    bundleOf: (name) => (name === 'partner.org' ? bundleOf(...authorities) : undefined),
    now: Date.now,
  });
  const own = partner.bundle().x509Der;
  const ask = (...authorities: readonly Buffer[]) =>
    faultOf(fetchBundle(new URL(`https://127.0.0.1:${server.port}/`), profile(...authorities), dialHere()));
  const show = async (authority: typeof partner, id: string): Promise<void> => {
    const { chainDer, keyDer } = await authority.issueX509(id, 60);
    server.show([chainDer], createPrivateKey({ key: keyDer, format: 'der', type: 'pkcs8' }));
  };
  expect(await ask(own)).toBe('tls');
  await show(partner, endpointId.toString());
  expect(await ask(own)).toBe('ok');
  expect(await ask(stranger.bundle().x509Der, own)).toBe('ok');
  expect(await ask(stranger.bundle().x509Der)).toBe('tls');
  // All keys of the domain were taken back: nobody can show anything any more, and the roots of the system do not step in.
  expect(await ask()).toBe('tls');
  await show(partner, 'spiffe://partner.org/spire');
  expect(await ask(own)).toBe('tls');
  await show(stranger, endpointId.toString());
  expect(await ask(own)).toBe('tls');
});

test('a poll that fails keeps what is held and comes again after the interval; an older document is refused', async () => {
  let next: string | Error = documentOf([partner.bundle().x509Der], {
    spiffe_sequence: 7,
    spiffe_refresh_hint: 60,
  });
  const told: string[] = [];
  const events = { changed: () => told.push('changed'), failed: (_: string, fault: string) => told.push(fault) };
  const fetch = () => (typeof next === 'string' ? Promise.resolve(Buffer.from(next)) : Promise.reject(next));
  const bundle = new FederatedBundle('partner.org', { fetch }, undefined, events);
  const poll = async (answer: typeof next): Promise<string | undefined> => {
    next = answer;
    const count = told.length;
    await bundle.poll();
    return told.slice(count).at(-1);
  };
  expect(bundle.x509()).toBeUndefined();
  expect(bundle.intervalMs()).toBe(5000);
  expect(await poll(next)).toBe('changed');
  const held = bundle.x509();
  expect(held?.authorities).toEqual([partner.bundle().x509Der]);
  expect(bundle.jwtAuthorities()?.map(({ kid }) => kid)).toEqual(['one']);
  expect(bundle.intervalMs()).toBe(60_000);
  expect(await poll(new EndpointUnavailable('unreachable'))).toBe('unreachable');
  expect(await poll(new TypeError('anything'))).toBe('unreachable');
  expect(await poll('{"spiffe_sequence": 9}')).toBe('malformed');
  expect(await poll('{"keys": [], "keys": []}')).toBe('malformed');
  expect(await poll(documentOf([stranger.bundle().x509Der], { spiffe_sequence: 6 }))).toBe('rollback');
  expect(bundle.x509()).toBe(held);
  expect(bundle.intervalMs()).toBe(60_000);
  // The same with its keys in another order says nothing new.
  expect(await poll(JSON.stringify({ ...JSON.parse(next), keys: [], spiffe_sequence: 6 }))).toBe('rollback');
  expect(await poll(documentOf([partner.bundle().x509Der], { spiffe_sequence: 8 }))).toBeUndefined();
  expect(bundle.x509()).toBe(held);
  expect(bundle.intervalMs()).toBe(300_000);
  for (const [hint, interval] of [
    [0, 300_000],
    [1, 1000],
    [86_400, 3_600_000],
  ]) {
    await poll(documentOf([partner.bundle().x509Der], { spiffe_refresh_hint: hint }));
    expect(bundle.intervalMs()).toBe(interval);
  }
  expect(await poll('{"keys": []}')).toBe('changed');
  expect(bundle.x509()?.authorities).toEqual([]);
  expect(bundle.jwtAuthorities()).toEqual([]);
  expect(await poll(documentOf([partner.bundle().x509Der], { spiffe_sequence: 7 }))).toBe('rollback');
  bundle.close();
});

test('a poll that brings the same keys leaves the objects as they are, by which verified tokens are remembered', async () => {
  const hints = [10, 20];
  const fetch = (): Promise<Buffer> =>
    Promise.resolve(Buffer.from(documentOf([partner.bundle().x509Der], { spiffe_refresh_hint: hints.shift() })));
  const bundle = new FederatedBundle('partner.org', { fetch }, undefined, {
    changed: () => undefined,
    failed: () => undefined,
  });
  await bundle.poll();
  const held = [bundle.x509(), bundle.jwtAuthorities()];
  await bundle.poll();
  expect([bundle.intervalMs(), bundle.x509() === held[0], bundle.jwtAuthorities() === held[1]]).toEqual([
    20_000,
    true,
    true,
  ]);
  bundle.close();
});
