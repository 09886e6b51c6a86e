import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildLimitMs } from '../stage/spire-programs.ts';
import { openSpire, type SpireDomain } from '../stage/spire.ts';
import { isSignedBy } from '../stage/way-in-load.ts';
import {
  agentEntry,
  domainName,
  fetcherSelectors,
  findSpire,
  knock,
  openSpireStage,
  type SpireStage,
} from './spire-stage.ts';

const partnerName = 'partner.example';
const buyerId = `spiffe://${partnerName}/buyer`;
const dir = mkdtempSync(join(tmpdir(), 'waybill-bundle-'));

let missing: string | undefined;
let domain: SpireDomain;
let partner: SpireDomain;
let stage: SpireStage;

beforeAll(async () => {
  const programs = await findSpire();
  if (typeof programs === 'string') {
    missing = programs;
    return;
  }
  domain = await openSpire(programs, domainName);
  partner = await openSpire(programs, partnerName);
  await domain.createEntry(agentEntry());
  await partner.createEntry({ path: '/buyer', selectors: fetcherSelectors(partner), x509TtlSeconds: 20 });
  const bootstrap = join(dir, 'partner.json');
  writeFileSync(bootstrap, await partner.bundle('spiffe'));
  const { url, spiffeId } = partner.bundleEndpoint;
  // The two servers know nothing of each other: only the sidecar reads the partner's bundle.
  stage = await openSpireStage(domain, {
    domains: { [partnerName]: { bundle_endpoint: { url, profile: 'https_spiffe', spiffe_id: spiffeId, bootstrap } } },
    callers: [buyerId],
  });
}, buildLimitMs);
afterAll(async () => {
  await stage?.close();
  await partner?.close();
  await domain?.close();
  rmSync(dir, { recursive: true });
});

test('a peer of a domain whose bundle comes from its endpoint is let in', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await expect.poll(stage.call, { timeout: 20_000 }).toBe(200);
  expect(await knock(stage, await partner.fetch())).toBe(200);
});

test('its next authority is known by the time that it signs', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const before = await partner.bundle('pem');
  const next = await partner.prepareAuthority('x509');
  expect((await partner.bundle('pem')).length).toBeGreaterThan(before.length * 1.5);
  // Two rounds of the refresh hint, which is 5 s here.
  await sleep(11_000);
  await partner.activateAuthority('x509', next);
  const signedByNext = async (): Promise<boolean> => {
    const svid = await partner.fetch();
    expect(await knock(stage, svid)).toBe(200);
    // One of the new authority is one that the old bundle does not verify.
    return !isSignedBy(new X509Certificate(svid.cert), before);
  };
  await expect.poll(signedByNext, { timeout: 20_000, interval: 500 }).toBe(true);
}, 60_000);
