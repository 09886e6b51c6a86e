import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority, type Authority } from '../../proxy/embedded/authority.ts';
import { pem } from '../fakes/bundle-endpoint.ts';
import { issueTexts, swapData } from '../fakes/svid-folder.ts';
import { openScriptedWorkloadApi, type ScriptedWorkloadApi } from '../fakes/scripted-workload-api.ts';
import { removeFolder } from '../stage/sidecar-process.ts';
import { certificateOf, tlsCaller } from '../stage/tls-caller.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let own: Authority;
let partner: Authority;
let agent: ScriptedWorkloadApi;
let stage: WayInStage | undefined;
let dir: string;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-taken-back-'));
  [own, partner, agent] = await Promise.all([
    openAuthority('example.org'),
    openAuthority('partner.org'),
    openScriptedWorkloadApi(),
  ]);
});
afterEach(async () => {
  await stage?.close();
  stage = undefined;
  await agent.close();
  removeFolder(dir);
});

const planner = 'spiffe://partner.org/planner';
const x509Of = (authority: Authority): Buffer => authority.bundle().x509Der;
const bundlesOf = (ofPartner: Buffer) => ({
  bundles: [
    { key: 'spiffe://example.org', value: x509Of(own) },
    { key: 'spiffe://partner.org', value: ofPartner },
  ],
});

/** A way in whose Workload API knows both domains. @returns how a workload of the partner fares there. */
async function openFor(
  domain: string | { readonly bundle_file: string },
  token: string | null = null,
): Promise<() => Promise<string>> {
  const id = 'spiffe://example.org/agent';
  const { chainDer, keyDer } = await own.issueX509(id, 600);
  const svid = { spiffe_id: id, x509_svid: chainDer, x509_svid_key: keyDer, bundle: x509Of(own) };
  agent.answers = {
    FetchX509SVID: () => ({ messages: [{ svids: [svid] }] }),
    FetchX509Bundles: () => ({ messages: [bundlesOf(x509Of(partner))] }),
  };
  stage = await openWayIn({
    origin: 'https://agent.example.org',
    sections: {
      identity: { workload_api: agent.address },
      trust: { issuers: [], domains: { 'example.org': 'workload_api', 'partner.org': domain } },
    },
    inbound: () => ({ accept: [{ trust_domain: 'partner.org', proof: 'mtls' }] }),
  });
  const caller = await tlsCaller(stage, certificateOf(await partner.issueX509(planner, 600)));
  return async () => {
    const { status, code } = await caller.send({ path: '/x', token, scheme: 'Bearer', proof: null });
    return status === 200 ? 'let in' : String(code);
  };
}

test('W1: a domain without any authority has no callers, whatever else the same answer says', async () => {
  const fares = await openFor('workload_api');
  await expect.poll(fares).toBe('let in');
  // SPIRE writes it so for a domain that has taken all of them back, and for one that signs JWTs only.
  agent.push('FetchX509Bundles', bundlesOf(Buffer.alloc(0)));
  await expect.poll(fares).toBe('caller_not_allowed');
  agent.push('FetchX509Bundles', bundlesOf(x509Of(partner)));
  await expect.poll(fares).toBe('let in');
});

test('a JWT-SVID falls with the key that signed it, also one that was let in before', async () => {
  const file = join(dir, 'partner.json');
  const write = (...jwks: readonly object[]): void => {
    const authority = { use: 'x509-svid', kty: 'EC', x5c: [x509Of(partner).toString('base64')] };
    writeFileSync(file, JSON.stringify({ keys: [authority, ...jwks.map((key) => ({ ...key, use: 'jwt-svid' }))] }));
  };
  write(...partner.bundleJwks());
  const iat = Math.floor(Date.now() / 1000);
  const claims = { sub: planner, aud: ['https://agent.example.org'], iss: 'spiffe://partner.org', iat, exp: iat + 600 };
  const fares = await openFor({ bundle_file: file }, partner.issueJwt(claims));
  await expect.poll(fares).toBe('let in');
  write();
  await expect.poll(fares, { timeout: 5000 }).toBe('token_invalid');
  write(...partner.bundleJwks());
  await expect.poll(fares, { timeout: 5000 }).toBe('let in');
});

/** The sidecar can open descriptors below this number. @returns what gives it back the others. */
function limitOpenFiles(end: number): () => void {
  const pid = stage?.sidecar.pid ?? 0;
  const limit = (open: string) => execFileSync('prlimit', ['--pid', String(pid), `--nofile=${open}:`]);
  const before = /^Max open files +(?<soft>\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.groups?.['soft'];
  limit(String(end));
  return () => limit(before ?? '1024');
}

/** The number that the next file of the sidecar gets. */
function nextDescriptor(): number {
  const used = new Set(readdirSync(`/proc/${stage?.sidecar.pid}/fd`).map(Number));
  let next = 3;
  while (used.has(next)) next += 1;
  return next;
}

test('a bundle file that changes while no file can be opened holds as soon as one can', async ({ skip }) => {
  skip(spawnSync('prlimit', ['--version']).status !== 0, 'prlimit is missing');
  const file = join(dir, 'partner.pem');
  writeFileSync(file, pem(x509Of(partner)));
  const fares = await openFor({ bundle_file: file });
  await expect.poll(fares).toBe('let in');
  const lift = limitOpenFiles(3);
  writeFileSync(file, '{"keys":[]}');
  await sleep(3000);
  lift();
  await expect.poll(fares, { timeout: 5000 }).toBe('caller_not_allowed');
  // Once for as long as it lasts.
  expect(stage?.sidecar.output().split('"bundle of partner.org","reason":"unreadable"').length).toBe(2);
}, 20_000);

test('an SVID that comes while too few files can be opened is in use as soon as they can', async ({ skip }) => {
  skip(spawnSync('prlimit', ['--version']).status !== 0, 'prlimit is missing');
  const write = async (): Promise<void> => {
    const { certificate, key, bundle } = await issueTexts(own, 'spiffe://example.org/agent', 600);
    // Tokens are read all at once, so one descriptor is enough to list the folder and too few to read it.
    const tokens = Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [`${name}.token`, 'none']));
    await swapData(dir, { 'tls.crt': certificate, 'tls.key': key, 'ca.crt': bundle, ...tokens });
  };
  await write();
  const rotations = () => stage?.sidecar.events().filter(({ event }) => event === 'svid.rotated').length;
  stage = await openWayIn({
    sections: { identity: { svid_dir: dir }, trust: { issuers: [], domains: { 'example.org': 'svid_dir' } } },
    origin: 'https://agent.example.org',
    inbound: () => ({ accept: [{ trust_domain: 'example.org', proof: 'mtls' }] }),
  });
  const lift = limitOpenFiles(nextDescriptor() + 1);
  await write();
  await sleep(3000);
  expect(rotations()).toBe(1);
  lift();
  await expect.poll(rotations, { timeout: 5000 }).toBe(2);
}, 20_000);
