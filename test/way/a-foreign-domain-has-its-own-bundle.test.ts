import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';
import type { DomainSource } from '../../config/trust-sources.ts';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openTrustDomains, type TrustBundles } from '../../proxy/trust-domains.ts';
import { openWorkload } from '../../proxy/workload.ts';
import { EgressGuard } from '../../proxy/route/egress-guard.ts';
import { realWorld } from '../../proxy/world.ts';
import { dialHere, openBundleEndpoint, pem } from '../fakes/bundle-endpoint.ts';
import { eventually } from '../fakes/eventually.ts';
import { bundleOf } from '../fakes/trust-bundle.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';

const folder = await mkdtemp(join(tmpdir(), 'waybill-domains-'));
const [own, partner, next] = await Promise.all(['own.org', 'partner.org', 'partner.org'].map(openAuthority));
if (own === undefined || partner === undefined || next === undefined) throw new Error('no authority');
const der = (authority: typeof own): Buffer => authority.bundle().x509Der;
const documentOf = (authority: typeof own): string =>
  JSON.stringify({ keys: [{ use: 'x509-svid', kty: 'EC', x5c: [der(authority).toString('base64')] }] });
const file = (name: string): string => join(folder, name);
const { chainDer, keyDer } = await partner.issueX509('spiffe://partner.org/endpoint', 60);
const server = await openBundleEndpoint([chainDer], createPrivateKey({ key: keyDer, format: 'der', type: 'pkcs8' }));
const url = `https://127.0.0.1:${server.port}/`;

afterAll(async () => {
  server.close();
  await rm(folder, { recursive: true });
});

/** What the Workload API says: our own domain, and, unasked, something about the partner's. */
const ofIdentity: TrustBundles = {
  authoritiesOf: (name) =>
    new Map([
      ['own.org', bundleOf(der(own))],
      ['partner.org', bundleOf(der(own))],
    ]).get(name),
  jwtAuthoritiesOf: (name) => (name === 'own.org' ? [] : undefined),
};

async function open(domains: Record<string, DomainSource>) {
  const troubles: string[] = [];
  const opened = await openTrustDomains(new Map(Object.entries(domains)), ofIdentity, {
    tcp: dialHere(),
    now: Date.now,
    troubled: (source, reason) => troubles.push(`${source}: ${reason}`),
  });
  return { ...opened, troubles };
}

test('a domain with a source of its own is not merged with what the Workload API says of it', async () => {
  await writeFile(file('bundle.json'), documentOf(partner));
  const domains = await open({ 'own.org': 'workload_api', 'partner.org': { bundle_file: file('bundle.json') } });
  expect(domains.authoritiesOf('own.org')?.authorities).toEqual([der(own)]);
  expect(domains.authoritiesOf('partner.org')?.authorities).toEqual([der(partner)]);
  expect(domains.jwtAuthoritiesOf('partner.org')).toEqual([]);
  expect(domains.authoritiesOf('other.org')).toBeUndefined();
  domains.close();
  const away = await open({ 'partner.org': { bundle_file: file('absent.json') } });
  expect(away.authoritiesOf('partner.org')).toBeUndefined();
  expect(away.troubles).toEqual(['bundle of partner.org: unreadable']);
  away.close();
});

test('a bundle file is read anew when it is replaced, reached by another link, or written late', async () => {
  await writeFile(file('one.json'), documentOf(partner));
  await writeFile(file('two.pem'), pem(der(next)));
  await symlink('one.json', file('link'));
  const domains = await open({ 'partner.org': { bundle_file: file('link') } });
  const present = (): Buffer | undefined => domains.authoritiesOf('partner.org')?.authorities[0];
  expect(present()).toEqual(der(partner));
  await symlink('two.pem', file('link.new'));
  await rename(file('link.new'), file('link'));
  await eventually('the other link', () => present()?.equals(der(next)) === true);
  // Half a file, and none at all, take nothing back.
  await writeFile(file('two.pem'), documentOf(partner).slice(0, -9));
  await eventually('a word about it', () => domains.troubles.at(-1) === 'bundle of partner.org: malformed');
  await unlink(file('two.pem'));
  await eventually('a word about it', () => domains.troubles.at(-1) === 'bundle of partner.org: unreadable');
  expect(present()).toEqual(der(next));
  await writeFile(file('two.pem'), '{"keys": []}');
  await eventually('the end of all keys', () => domains.authoritiesOf('partner.org')?.authorities.length === 0);
  domains.close();
});

test('an https_spiffe endpoint is believed by the bootstrap bundle first and by the current bundle then', async () => {
  await writeFile(file('bootstrap.json'), documentOf(partner));
  server.answer = { body: JSON.stringify({ ...JSON.parse(documentOf(next)), spiffe_refresh_hint: 1 }) };
  const endpoint = { url, profile: 'https_spiffe', spiffe_id: 'spiffe://partner.org/endpoint' } as const;
  const domains = await open({
    'partner.org': { bundle_endpoint: { ...endpoint, bootstrap: file('bootstrap.json') } },
  });
  expect(domains.authoritiesOf('partner.org')?.authorities).toEqual([der(next)]);
  // The endpoint still shows the SVID of the authority that it has just taken back.
  await eventually('a refusal', () => domains.troubles.includes('bundle of partner.org: tls'));
  const fresh = await next.issueX509('spiffe://partner.org/endpoint', 60);
  server.show([fresh.chainDer], createPrivateKey({ key: fresh.keyDer, format: 'der', type: 'pkcs8' }));
  server.answer = { body: documentOf(partner) };
  await eventually(
    'the next bundle',
    () => domains.authoritiesOf('partner.org')?.authorities[0]?.equals(der(partner)) === true,
  );
  domains.close();
});

test('the roots of an https_web endpoint are those that its file holds now', async () => {
  const [before, after] = [await makeToolCertificate('127.0.0.1'), await makeToolCertificate('127.0.0.1')];
  const show = ({ cert, key: text }: typeof before): void =>
    server.show([new X509Certificate(cert).raw], createPrivateKey(text));
  show(before);
  server.answer = { body: JSON.stringify({ ...JSON.parse(documentOf(partner)), spiffe_refresh_hint: 1 }) };
  await writeFile(file('roots.pem'), before.ca);
  const web = { url, profile: 'https_web', ca: file('roots.pem') } as const;
  const domains = await open({ 'partner.org': { bundle_endpoint: web } });
  const present = (): Buffer | undefined => domains.authoritiesOf('partner.org')?.authorities[0];
  expect(present()).toEqual(der(partner));
  show(after);
  server.answer = { body: documentOf(next) };
  await eventually('a refusal', () => domains.troubles.at(-1) === 'bundle of partner.org: tls');
  // Half of a renewal believes nobody.
  await writeFile(file('roots.pem'), '');
  await sleep(1500);
  expect([present(), new Set(domains.troubles)]).toEqual([der(partner), new Set(['bundle of partner.org: tls'])]);
  await writeFile(file('roots.pem'), after.ca);
  await eventually('the next bundle', () => present()?.equals(der(next)) === true);
  domains.close();
});

test('an endpoint of a third domain is believed by the bundle of that domain', async () => {
  const { chainDer: chain, keyDer: key } = await own.issueX509('spiffe://own.org/publisher', 60);
  server.show([chain], createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
  server.answer = { body: documentOf(partner) };
  const domains = await open({
    'partner.org': { bundle_endpoint: { url, profile: 'https_spiffe', spiffe_id: 'spiffe://own.org/publisher' } },
  });
  expect(domains.troubles).toEqual([]);
  expect(domains.authoritiesOf('partner.org')?.authorities).toEqual([der(partner)]);
  domains.close();
});

test('a bootstrap bundle that cannot be read stops the start', async () => {
  const endpoint = { url, profile: 'https_spiffe', spiffe_id: 'spiffe://partner.org/endpoint' } as const;
  await expect(
    open({ 'partner.org': { bundle_endpoint: { ...endpoint, bootstrap: file('absent.json') } } }),
  ).rejects.toThrow('ENOENT');
  await writeFile(file('broken.json'), '{');
  const broken = file('broken.json');
  const unusable = `${broken}: a bundle is not a JSON object with each name once`;
  await expect(open({ 'partner.org': { bundle_endpoint: { ...endpoint, bootstrap: broken } } })).rejects.toThrow(
    unusable,
  );
  const web = { url, profile: 'https_web', ca: broken } as const;
  await expect(open({ 'partner.org': { bundle_endpoint: web } })).rejects.toThrow(unusable);
  // A bundle, but nothing that TLS can be given: Node would be left with an option that names nobody.
  await writeFile(broken, '{"keys":[]}');
  await expect(open({ 'partner.org': { bundle_endpoint: web } })).rejects.toThrow(
    `${broken}: there is no CA certificate (PEM) in it`,
  );
});

test('the sidecar asks endpoints through its egress guard, with and without an identity of its own', async () => {
  const { chainDer: chain, keyDer: key } = await partner.issueX509('spiffe://partner.org/endpoint', 60);
  server.show([chain], createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
  server.answer = { body: documentOf(next) };
  await writeFile(file('bootstrap.pem'), pem(der(partner)));
  const source: DomainSource = {
    bundle_endpoint: {
      url,
      profile: 'https_spiffe',
      spiffe_id: 'spiffe://partner.org/endpoint',
      bootstrap: file('bootstrap.pem'),
    },
  };
  const world = realWorld([]);
  const troubles: string[] = [];
  const events = {
    rotated: () => undefined,
    lost: () => undefined,
    troubled: (_: string, why: string) => troubles.push(why),
  };
  const settings = { identity: 'none', trust: { domains: new Map([['partner.org', source]]) } } as const;
  for (const [isOwn, authority] of [
    [true, partner],
    [false, next],
  ] as const) {
    const guard = new EgressGuard(world, (_address, port) => isOwn && port === server.port);
    const workload = await openWorkload(settings, guard, world, events);
    expect(workload.authoritiesOf('partner.org')?.authorities).toEqual([der(authority)]);
    workload.close();
  }
  expect(troubles).toEqual(['unreachable']);
});
