import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openBundleEndpoint, pem } from '../fakes/bundle-endpoint.ts';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore } from '../fakes/store.ts';
import { runWaybill } from '../stage/command-line.ts';
import { removeFolder, startSidecar } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';

// With this Node.js believes every server whose code does not ask to have it verified.
const env = { ...process.env, NODE_TLS_REJECT_UNAUTHORIZED: '0' };
let dir: string;
const file = (name: string): string => join(dir, name);

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-strangers-'));
});
afterAll(() => removeFolder(dir));

test.for(['https_web', 'https_spiffe'])('W1: a bundle of a stranger is not taken (%s)', async (profile) => {
  const [partner, stranger] = [await openAuthority('partner.org'), await openAuthority('partner.org')];
  const spiffeId = 'spiffe://partner.org/endpoint';
  const { chainDer, keyDer } = await stranger.issueX509(spiffeId, 600);
  const endpoint = await openBundleEndpoint(
    [chainDer],
    createPrivateKey({ key: keyDer, format: 'der', type: 'pkcs8' }),
  );
  writeFileSync(file('partner.pem'), pem(partner.bundle().x509Der));
  const shown = profile === 'https_web' ? 'ca: ' : `spiffe_id: "${spiffeId}", bootstrap: `;
  const where = `url: "https://127.0.0.1:${endpoint.port}/", profile: ${profile}, ${shown}${file('partner.pem')}`;
  const sidecar = await startSidecar(`trust: { domains: { partner.org: { bundle_endpoint: { ${where} } } } }`, { env });
  try {
    await eventually('it says why', () => /"bundle of partner.org","reason":"tls"/.test(sidecar.output()));
    expect(endpoint.seen).toEqual([]);
  } finally {
    await sidecar.stop();
    removeFolder(sidecar.dir);
    endpoint.close();
  }
});

test('nor is the store of a fleet believed', async () => {
  const own = await makeToolCertificate('localhost');
  const other = await makeToolCertificate('localhost');
  const store = await openFakeStore(undefined, own);
  writeFileSync(file('other.pem'), other.ca);
  const fleet = `{ store: "valkeys://localhost:${store.port}", tls: { ca: ${file('other.pem')} } }`;
  const sidecar = await startSidecar(`fleet: ${fleet}`, { env });
  try {
    await eventually('it says why', () => /does not answer/.test(sidecar.output()));
    expect((await fetch(`http://${sidecar.addresses.health}/readyz`)).status).toBe(503);
  } finally {
    await sidecar.stop();
    removeFolder(sidecar.dir);
    await store.close();
  }
});

test('nor is a stranger shown the token of an operator', async () => {
  const { cert, key } = await makeToolCertificate('127.0.0.1');
  const stranger = await openBundleEndpoint([new X509Certificate(cert).raw], createPrivateKey(key));
  writeFileSync(file('operator'), 'operator-token-0123456789abcdef0123456789', { mode: 0o600 });
  const place = ['--url', `https://127.0.0.1:${stranger.port}`, '--token-file', file('operator')];
  try {
    const { code } = await runWaybill(['tasks', 'list', ...place], { env });
    expect([code, stranger.seen]).toEqual([69, []]);
  } finally {
    stranger.close();
  }
});
