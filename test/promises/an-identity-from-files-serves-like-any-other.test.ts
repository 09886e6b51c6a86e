import { X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Authority, openAuthority } from '../../proxy/embedded/authority.ts';
import { pem } from '../fakes/bundle-endpoint.ts';
import { mintAuthority, mintLeaf, type Recipe } from '../fakes/certificate-mint.ts';
import { issueTexts, swapData } from '../fakes/svid-folder.ts';
import { readRecord } from '../stage/event-record.ts';
import type { RawAnswer } from '../stage/raw-call.ts';
import { certificateOf, connectTls, tlsCaller, type ClientCertificate } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const agentId = 'spiffe://example.org/agent';
let folder: string;
let own: Authority;
let partner: Authority;
let stranger: Authority;
let stage: WayInStage;
const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]) } as const;
const partnerFile = (): string => join(folder, 'partner.pem');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-files-'));
  [own, partner, stranger] = await Promise.all([
    openDomain(),
    openAuthority('partner.org'),
    openAuthority('stranger.org'),
  ]);
  await writeSvid();
  await writeFile(partnerFile(), pem(partner.bundle().x509Der));
  stage = await openWayIn({
    origin: 'https://agent.example.org',
    sections: {
      identity: { svid_dir: folder },
      trust: {
        issuers: [],
        domains: { 'example.org': 'svid_dir', 'partner.org': { bundle_file: partnerFile() } },
      },
    },
    inbound: () => ({
      accept: [
        { trust_domain: 'example.org', proof: 'mtls' },
        { trust_domain: 'partner.org', proof: 'mtls' },
      ],
    }),
  });
});
afterAll(async () => {
  await stage?.close();
  await rm(folder, { recursive: true });
});

async function writeSvid(): Promise<void> {
  const { certificate, key, bundle } = await issueTexts(own, agentId, 600);
  await swapData(folder, { 'tls.crt': certificate, 'tls.key': key, 'ca.crt': bundle });
}

const svidOf = async (from: Authority, name = 'planner'): Promise<ClientCertificate> =>
  certificateOf(await from.issueX509(`spiffe://${from.trustDomain}/${name}`, 600));

async function shownCertificate(): Promise<Buffer | undefined> {
  const socket = await connectTls(stage.to.address(), await svidOf(own));
  const { raw } = socket.getPeerX509Certificate() ?? {};
  socket.destroy();
  return raw;
}

const shownSerial = async (): Promise<string> =>
  new X509Certificate((await shownCertificate()) ?? Buffer.alloc(0)).serialNumber;

/** Writes an SVID of an authority that nobody knew before, beside those that callers are known by. @returns its leaf. */
async function writeMinted(recipe: Recipe): Promise<Buffer> {
  const authority = await mintAuthority(undefined);
  const { der, privateKey } = await mintLeaf(authority, recipe);
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const bundle = pem(authority.der, own.bundle().x509Der);
  await swapData(folder, { 'tls.crt': pem(der), 'tls.key': key, 'ca.crt': bundle });
  return der;
}

async function call(client: ClientCertificate): Promise<RawAnswer> {
  return (await tlsCaller(stage, client)).send({ path: '/x', token: null, proof: null });
}

test('callers of our own domain and of a domain with a bundle file are let in, others are not', async () => {
  expect((await call(await svidOf(own))).status).toBe(200);
  expect((await call(await svidOf(partner))).status).toBe(200);
  expect((await call(await svidOf(stranger))).code).toBe('caller_not_allowed');
  // The right authority under the wrong name: neither bundle speaks for the other's domain.
  for (const [from, name] of [
    [own, 'spiffe://partner.org/planner'],
    [partner, 'spiffe://example.org/planner'],
  ] as const) {
    expect((await call(certificateOf(await from.issueX509(name, 600)))).code).toBe('caller_not_allowed');
  }
});

test('an SVID that is exchanged on disk is shown to new connections, and no call fails meanwhile', async () => {
  const client = await svidOf(own);
  const before = await shownSerial();
  const stop = new AbortController();
  const statuses = new Map<number, number>();
  const load = (async () => {
    while (!stop.signal.aborted) {
      const { status } = await call(client);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  })();
  const serials = new Set([before]);
  for (let round = 1; round <= 3; round++) {
    await writeSvid();
    await expect.poll(async () => serials.add(await shownSerial()).size, { timeout: 5000 }).toBe(round + 1);
  }
  stop.abort();
  await load;
  expect([...statuses.keys()]).toEqual([200]);
  const rotated = readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'svid.rotated');
  expect(rotated.length).toBe(4);
});

test('a domain whose keys were all taken back in its file has no callers any more, on open connections too', async () => {
  const caller = await tlsCaller(stage, await svidOf(partner));
  const connection = await caller.connect();
  const send = () => caller.send({ path: '/x', token: null, proof: null }, connection);
  expect((await send()).status).toBe(200);
  await writeFile(partnerFile(), '{"keys":[]}');
  await expect.poll(async () => (await send()).code, { timeout: 5000 }).toBe('caller_not_allowed');
  expect((await call(await svidOf(own))).status).toBe(200);
});

test('an SVID of another authority is another SVID, though it has the same serial number', async () => {
  for (let round = 0; round < 2; round++) {
    const leaf = await writeMinted({ serial: '01' });
    await expect
      .poll(async () => leaf.equals((await shownCertificate()) ?? Buffer.alloc(0)), { timeout: 5000 })
      .toBe(true);
  }
});

test('an SVID that TLS does not take is told, and the one before it is shown', async () => {
  await writeSvid();
  const before = await shownSerial();
  await writeMinted({ algorithm: { ...rsa, modulusLength: 1024 } });
  await expect.poll(() => stage.sidecar.output(), { timeout: 5000 }).toContain('cannot be used for TLS');
  expect(await shownSerial()).toBe(before);
  expect((await call(await svidOf(own))).status).toBe(200);
});

test('of several files that cannot be read each is told once, whichever of them is found', async () => {
  const [one, other] = ['a', 'b'].map((name) => join(folder, `${name}.token`)) as [string, string];
  const told = () => [one, other].map((path) => stage.sidecar.output().split(`"file":"${path}"`).length - 1);
  // No files. They are read all at once: with both there it would be chance which one is found, and another one each second.
  await mkdir(one);
  await expect.poll(told, { timeout: 5000 }).toEqual([1, 0]);
  await rename(one, other);
  await expect.poll(told, { timeout: 5000 }).toEqual([1, 1]);
  await rename(other, one);
  await sleep(2500);
  expect(told()).toEqual([1, 1]);
  await rmdir(one);
  const before = await shownSerial();
  await writeSvid();
  await expect.poll(shownSerial, { timeout: 5000 }).not.toBe(before);
  // What lasted is over: the next time is told.
  await mkdir(one);
  await expect.poll(told, { timeout: 5000 }).toEqual([2, 1]);
  await rmdir(one);
}, 20_000);
