import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { EgressGuard } from '../../proxy/route/egress-guard.ts';
import { IdentityUnavailable } from '../../proxy/spiffe/identity-unavailable.ts';
import { readProjectedToken } from '../../proxy/spiffe/projected-token.ts';
import { openWorkload } from '../../proxy/workload.ts';
import { realWorld } from '../../proxy/world.ts';

const folder = await mkdtemp(join(tmpdir(), 'waybill-token-'));
const file = join(folder, 'token');
const issuer = 'https://sso.example.org';
const nowMs = 1_700_000_000_000;
const exp = nowMs / 1000 + 600;
const part = (value: object | string): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const tokenOf = (claims: object | string, header: object = { alg: 'RS256', kid: 'k' }): string =>
  [part(header), part(claims), part('signature of the cluster')].join('.');
const claims = { aud: [issuer], exp, iss: 'https://kubernetes.default.svc', sub: 'system:serviceaccount:prod:agent' };

afterAll(() => rm(folder, { recursive: true }));

async function read(text: string, audience = issuer, now = nowMs): Promise<string> {
  await writeFile(file, text);
  try {
    return (await readProjectedToken(file, audience, now)).token();
  } catch (error) {
    if (error instanceof IdentityUnavailable) return error.reason;
    throw error;
  }
}

test('the token is read anew at each use, for the one audience that it has', async () => {
  const [one, two] = [tokenOf(claims), tokenOf({ ...claims, aud: issuer })];
  expect(await read(`${one}\n`)).toBe(one);
  expect(await read(two)).toBe(two);
  expect(await read(one, 'https://other.example.org')).toBe('audience');
  expect(await read(tokenOf({ ...claims, aud: [issuer, 'https://kubernetes.default.svc'] }))).toBe('audience');
  expect(await read(tokenOf({ ...claims, aud: [] }))).toBe('audience');
  expect(await read(tokenOf({ ...claims, aud: undefined }))).toBe('audience');
});

test('a token that has ended, or is none, is not given out', async () => {
  const good = tokenOf(claims);
  expect(await read(good, issuer, exp * 1000 - 1)).toBe(good);
  expect(await read(good, issuer, exp * 1000)).toBe('unavailable');
  const broken = [
    '',
    'word',
    `${good}.more`,
    `${good}=`,
    good.slice(0, -1),
    tokenOf({ ...claims, exp: String(exp) }),
    tokenOf({ ...claims, exp: undefined }),
    tokenOf(claims, { alg: 'none' }),
    tokenOf(claims, {}),
    tokenOf('[]'),
    tokenOf(`{"aud":"x","aud":"${issuer}","exp":${exp}}`),
  ];
  for (const text of broken) expect(await read(text), text).toBe('malformed');
  expect(await read('a'.repeat(16 * 1024 + 1))).toBe('unavailable');
  await rm(file);
  await expect(readProjectedToken(file, issuer, nowMs)).rejects.toMatchObject({ reason: 'unavailable' });
});

test('it is not printed', async () => {
  await writeFile(file, tokenOf(claims));
  const token = await readProjectedToken(file, issuer, nowMs);
  const secret = token.token().slice(-16);
  expect(inspect(token, { showHidden: true }) + JSON.stringify(token)).not.toContain(secret);
  expect(token.expiresAtMs).toBe(exp * 1000);
});

test('with a service account there is no SPIFFE identity, and with one there is no service account', async () => {
  const world = { ...realWorld([]), now: () => nowMs };
  const guard = new EgressGuard(world, () => false);
  const events = { rotated: () => undefined, lost: () => undefined, troubled: () => undefined };
  const open = (identity: Parameters<typeof openWorkload>[0]['identity']) =>
    openWorkload({ identity, trust: { domains: new Map() } }, guard, world, events);
  await writeFile(file, tokenOf(claims));
  const pod = await open({ kubernetes: { token_file: file } });
  expect((await pod.readToken(issuer)).token()).toBe(tokenOf(claims));
  expect([pod.spiffeId(), pod.x509(), pod.missing()]).toEqual(['', undefined, undefined]);
  await expect(pod.fetchJwtSvid(issuer, 100)).rejects.toThrow('no SPIFFE identity');
  const none = await open('none');
  await expect(none.readToken(issuer)).rejects.toThrow('no service account token');
  const files = await open({ svid_dir: join(folder, 'svids') });
  expect(files.missing()).toBe('no SVID in the folder');
  await expect(files.readToken(issuer)).rejects.toThrow('no service account token');
  for (const workload of [pod, none, files]) workload.close();
});
