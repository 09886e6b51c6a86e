import { chmod, mkdir, mkdtemp, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { checkJwtSvid } from '../../proxy/spiffe/jwt-svid-check.ts';
import { openSvidFiles, type SvidFiles, type SvidFilesEvent } from '../../proxy/spiffe/svid-files.ts';
import { checkX509Path } from '../../proxy/spiffe/x509-path.ts';
import { eventually } from '../fakes/eventually.ts';
import { issueTexts, swapData, writeInPlace, type Files } from '../fakes/svid-folder.ts';

const authority = await openAuthority('example.org');
const partner = await openAuthority('partner.org');
const agentId = 'spiffe://example.org/agent';
let folder: string;
let events: SvidFilesEvent[];
let open: SvidFiles | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-svids-'));
  events = [];
});

afterEach(async () => {
  open?.close();
  await rm(folder, { recursive: true, force: true });
});

async function openFolder(now: () => number = Date.now): Promise<SvidFiles> {
  open = await openSvidFiles({ folder, now, onEvent: (event) => events.push(event) });
  return open;
}

const helper = ({ certificate, key, bundle }: { certificate: string; key: string; bundle: string }): Files => ({
  'svid.pem': certificate,
  'svid_key.pem': key,
  'svid_bundle.pem': bundle,
});
const driver = ({ certificate, key, bundle }: { certificate: string; key: string; bundle: string }): Files => ({
  'tls.crt': certificate,
  'tls.key': key,
  'ca.crt': bundle,
});
const token = (audience: string | readonly string[], sub = agentId, seconds = 60): string => {
  const iat = Math.floor(Date.now() / 1000);
  return authority.issueJwt({ sub, aud: audience as string[], iss: 'x', iat, exp: iat + seconds });
};
const jwks = JSON.stringify({ keys: authority.bundleJwks() });
const reasons = (): string[] => events.flatMap((event) => (event.kind === 'folder' ? [event.reason] : []));

test('the files of spiffe-helper are an identity, with its bundles and its tokens', async () => {
  const texts = await issueTexts(authority, agentId);
  // Its key file holds the certificate too, and its bundle those of other domains.
  await writeInPlace(folder, {
    ...helper({ ...texts, key: texts.certificate + texts.sec1, bundle: texts.bundle + partner.bundle().x509Pem }),
    'jwt_svid.token': token(['https://sso.example.org']),
    'jwt_bundle.json': JSON.stringify({ 'example.org': Buffer.from(jwks).toString('base64') }),
    'notes.txt': 'something else',
  });
  const files = await openFolder();
  expect(events.map(({ kind }) => kind)).toContain('svid.rotated');
  expect(files.identity()?.toString()).toBe(agentId);
  const { chain } = files.x509()!.default;
  const path = checkX509Path(chain, (name) => files.x509Bundles().get(name), Date.now());
  expect(path.spiffeId).toBe(agentId);
  expect(files.x509Bundles().get('example.org')?.authorities).toEqual([authority.bundle().x509Der]);
  expect(files.x509Bundles().get('partner.org')?.authorities).toEqual([partner.bundle().x509Der]);
  const svid = await files.fetchJwtSvid('https://sso.example.org');
  const bundleOf = (name: string) => files.jwtBundles().get(name);
  expect(checkJwtSvid(svid.token(), 'https://sso.example.org', bundleOf, Date.now())).toMatchObject({ kind: 'valid' });
  await expect(files.fetchJwtSvid('https://other.example.org')).rejects.toMatchObject({ reason: 'audience' });
  expect(reasons()).toEqual([]);
});

test('a token counts for the audiences that it has, best one with no other, while it lasts and is ours', async () => {
  const wide = token(['a', 'b']);
  const narrow = token(['a'], agentId, 30);
  await writeInPlace(folder, {
    ...helper(await issueTexts(authority, agentId)),
    'wide.token': `${wide}\n`,
    'narrow.token': narrow,
    'ended.token': token(['c'], agentId, -5),
    'foreign.token': token(['d'], 'spiffe://example.org/other'),
    'broken.token': 'no token',
    'bundle.json': jwks,
  });
  const files = await openFolder();
  expect((await files.fetchJwtSvid('a')).token()).toBe(narrow);
  expect((await files.fetchJwtSvid('b')).token()).toBe(wide);
  await expect(files.fetchJwtSvid('c')).rejects.toMatchObject({ name: 'IdentityUnavailable' });
  await expect(files.fetchJwtSvid('d')).rejects.toMatchObject({ reason: 'audience' });
  expect(files.jwtBundles().get('example.org')).toHaveLength(1);
  const secret = token(['e']);
  await writeFile(join(folder, 'late.token'), secret, { mode: 0o600 });
  await files.look();
  expect((await files.fetchJwtSvid('e')).token()).toBe(secret);
  expect(inspect(files, { depth: 9, showHidden: true })).not.toContain(secret.slice(-16));
});

test('tokens alone are an identity without certificate', async () => {
  await writeInPlace(folder, { 'jwt_svid.token': token(['a']) });
  const files = await openFolder();
  expect(files.identity()?.toString()).toBe(agentId);
  expect(files.x509()).toBeUndefined();
  expect((await files.fetchJwtSvid('a')).spiffeId.toString()).toBe(agentId);
});

test('files that are exchanged by a link are taken together, and at once', async () => {
  await swapData(folder, driver(await issueTexts(authority, agentId)));
  const files = await openFolder();
  const seen = [files.x509()?.default.serial];
  for (let round = 0; round < 3; round++) {
    await swapData(folder, driver(await issueTexts(authority, agentId)));
    await eventually('the next SVID', () => files.x509()?.default.serial !== seen.at(-1), 2500);
    seen.push(files.x509()?.default.serial);
  }
  expect(new Set(seen).size).toBe(4);
  expect(events.filter(({ kind }) => kind === 'svid.rotated')).toHaveLength(4);
  expect(events.filter(({ kind }) => kind === 'bundle.updated')).toHaveLength(1);
  expect(reasons()).toEqual([]);
});

test('a half-written pair is not taken, and the old one is used until it expires', async () => {
  await writeInPlace(folder, helper(await issueTexts(authority, agentId, 3)));
  const files = await openFolder();
  const [first] = [files.x509()];
  const next = helper(await issueTexts(authority, agentId));
  await writeInPlace(folder, { 'svid.pem': next['svid.pem'] ?? '' });
  await eventually('a word about it', () => reasons().length === 1);
  expect(reasons()).toEqual(['malformed']);
  expect(files.x509()).toBe(first);
  await writeInPlace(folder, { 'svid_key.pem': (next['svid_key.pem'] ?? '').slice(0, 60) });
  await eventually('another word', () => reasons().length === 2);
  await unlink(join(folder, 'svid_bundle.pem'));
  await eventually('and another', () => reasons().length === 3);
  expect(reasons()).toEqual(['malformed', 'malformed', 'unreadable']);
  await eventually('the end of the old one', () => events.at(-1)?.kind === 'svid.lost');
  expect(events.at(-1)).toMatchObject({ cause: 'expired' });
  expect(files.x509()).toBeUndefined();
  await writeInPlace(folder, next);
  await eventually('the new pair', () => files.x509() !== undefined);
});

test('a pair that is written within a moment is no news but the new SVID', async () => {
  await writeInPlace(folder, helper(await issueTexts(authority, agentId)));
  const files = await openFolder();
  const first = files.x509();
  await writeInPlace(folder, helper(await issueTexts(authority, agentId)));
  await eventually('the next SVID', () => files.x509() !== first);
  expect(reasons()).toEqual([]);
});

test('a folder that comes late is found, and one that goes takes nothing back', async () => {
  await rm(folder, { recursive: true });
  const files = await openFolder();
  expect(files.identity()).toBeUndefined();
  expect(reasons()).toEqual(['absent']);
  await expect(files.fetchJwtSvid('a')).rejects.toMatchObject({ reason: 'unavailable' });
  await mkdir(folder);
  await writeInPlace(folder, driver(await issueTexts(authority, agentId)));
  await eventually('the SVID', () => files.identity() !== undefined);
  await rm(folder, { recursive: true });
  await eventually('a word about it', () => reasons().length === 2);
  expect(files.identity()?.toString()).toBe(agentId);
});

test('a key that others may read is told of, once', async () => {
  await writeInPlace(folder, helper(await issueTexts(authority, agentId)));
  await chmod(join(folder, 'svid_key.pem'), 0o640);
  const files = await openFolder();
  expect(reasons()).toEqual(['key_shared']);
  await writeFile(join(folder, 'more.token'), token(['a']));
  await files.look();
  expect(reasons()).toEqual(['key_shared']);
});

test.each([
  [
    'an authority as leaf',
    async () => ({ ...(await issueTexts(authority, agentId)), certificate: authority.bundle().x509Pem }),
  ],
  ['no certificate', async () => ({ ...(await issueTexts(authority, agentId)), certificate: 'nothing' })],
  ['no SPIFFE ID with a path', () => issueTexts(authority, 'spiffe://example.org')],
  ['an SVID that has ended', () => issueTexts(authority, agentId, -1)],
])('%s is no identity', async (_what, make) => {
  await writeInPlace(folder, helper(await make()));
  const files = await openFolder();
  expect(files.x509()).toBeUndefined();
  expect(reasons()).toEqual(['malformed']);
});
