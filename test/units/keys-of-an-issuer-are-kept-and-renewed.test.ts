import { exportJWK, generateKeyPair, SignJWT, type JWK } from 'jose';
import { beforeEach, expect, test } from 'vitest';
import { JwksCache, type FetchDocument, type KeyUse } from '../../proxy/trust/jwks.ts';
import { readStrictJws } from '../../proxy/trust/strict-jws.ts';
import { type ShiftedWorld, shiftedWorld } from '../fakes/token-desk.ts';

const url = new URL('https://sso.example.org/jwks');

interface Key {
  readonly jwk: JWK;
  sign(header?: object): Promise<string>;
}

async function makeKey(kid: string, alg = 'ES256', members: object = {}): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg);
  return {
    jwk: { ...(await exportJWK(publicKey)), kid, ...members },
    sign: (header = {}) => new SignJWT({ sub: 'alice' }).setProtectedHeader({ alg, kid, ...header }).sign(privateKey),
  };
}

let world: ShiftedWorld;
let document: { status: number; body: string } | 'down';
let fetches = 0;
let fetchMs = 5;
let keys: JwksCache;

const fetch: FetchDocument = async (asked) => {
  fetches++;
  await new Promise((done) => setTimeout(done, fetchMs));
  if (document === 'down' || asked.href !== url.href) throw new Error('no answer from https://sso.example.org');
  return document;
};

function publish(...jwks: JWK[]): void {
  document = { status: 200, body: JSON.stringify({ keys: jwks }) };
}

function verify(text: string, use: KeyUse = 'sig', timeoutMs = 1000): Promise<void> {
  return keys.verify(readStrictJws(text), url, use, timeoutMs);
}

/** An issuer whose keys were fetched once, and another one was added since. */
async function rotateAfterFetch(): Promise<{ readonly old: Key; readonly fresh: Key }> {
  const [old, fresh] = [await makeKey('k1'), await makeKey('k2')];
  publish(old.jwk);
  await verify(await old.sign());
  publish(old.jwk, fresh.jwk);
  return { old, fresh };
}

beforeEach(() => {
  world = shiftedWorld();
  fetches = 0;
  fetchMs = 5;
  keys = new JwksCache(world, fetch);
});

test('keys are fetched once for all who wait, and again after ten minutes', async () => {
  const key = await makeKey('k1');
  publish(key.jwk);
  const text = await key.sign();
  await Promise.all(Array.from({ length: 20 }, () => verify(text)));
  expect(fetches).toBe(1);
  world.aheadMs = 600_001;
  await verify(text);
  expect(fetches).toBe(2);
});

test('a key that is new is found, and an unknown one is asked for at most once in ten seconds', async () => {
  const [old, fresh, never] = [await makeKey('k1'), await makeKey('k2'), await makeKey('k3')];
  publish(old.jwk);
  await verify(await old.sign());
  publish(old.jwk, fresh.jwk);
  world.aheadMs = 10_001;
  await verify(await fresh.sign());
  expect(fetches).toBe(2);
  for (let i = 0; i < 50; i++) await expect(verify(await never.sign())).rejects.toThrow('key');
  expect(fetches).toBe(2);
});

test('a key that is new is found for all who come while it is fetched', async () => {
  const { fresh } = await rotateAfterFetch();
  const texts = await Promise.all(Array.from({ length: 10 }, () => fresh.sign()));
  await Promise.all(texts.map((text) => verify(text)));
  expect(fetches).toBe(2);
});

test('a key that cannot be looked for is no unknown key, and is found as soon as the issuer answers again', async () => {
  const { old, fresh } = await rotateAfterFetch();
  const now = document;
  const text = await fresh.sign();
  document = 'down';
  for (let i = 0; i < 5; i++) await expect(verify(text)).rejects.toThrow(/^keys unavailable$/);
  await verify(await old.sign());
  expect(fetches).toBe(2);
  document = now;
  world.aheadMs = 1001;
  await verify(text);
  expect(fetches).toBe(3);
});

test('who has no time left for a new key is not told that there is none, and does not stop those who have', async () => {
  const { old, fresh } = await rotateAfterFetch();
  fetchMs = 60;
  const hurried = verify(await fresh.sign(), 'sig', 10);
  const patient = verify(await fresh.sign());
  await expect(hurried).rejects.toThrow(/^keys unavailable$/);
  await patient;
  await verify(await old.sign());
  expect(fetches).toBe(2);
});

test('a fetch that was begun with little time goes on for those who wait for it', async () => {
  const key = await makeKey('k1');
  publish(key.jwk);
  const text = await key.sign();
  // As the adapter does: no answer within the time is none.
  keys = new JwksCache(world, async (asked, { timeoutMs }) => {
    if (timeoutMs < 60) throw new Error('timeout');
    return fetch(asked, { method: 'GET', headers: {}, timeoutMs, maxBytes: 1 });
  });
  fetchMs = 60;
  const hurried = verify(text, 'sig', 10);
  const patient = verify(text);
  await expect(hurried).rejects.toThrow(/^keys unavailable$/);
  await patient;
});

test('a clock that is set back makes no old key young again, and holds no new one up', async () => {
  const { old, fresh } = await rotateAfterFetch();
  await expect(verify(await (await makeKey('k3')).sign())).rejects.toThrow('key');
  publish(fresh.jwk);
  world.aheadMs = -3_600_000;
  await expect(verify(await old.sign())).rejects.toThrow('key');
  const next = await makeKey('k4');
  publish(next.jwk);
  world.aheadMs = -7_200_000;
  await verify(await next.sign());
});

test('while an issuer is down its last keys are used for a day, and it is not asked more than once a second', async () => {
  const key = await makeKey('k1');
  publish(key.jwk);
  const text = await key.sign();
  await verify(text);
  document = 'down';
  world.aheadMs = 700_000;
  for (let i = 0; i < 5; i++) await verify(text);
  expect(fetches).toBe(2);
  world.aheadMs = 24 * 3_600_000 + 1000;
  await expect(verify(text)).rejects.toThrow(/^keys unavailable$/);
});

test('an issuer that is slow holds nobody up, and its newer keys count as soon as they are there', async () => {
  const { old, fresh } = await rotateAfterFetch();
  publish(fresh.jwk);
  world.aheadMs = 600_001;
  fetchMs = 300;
  const startedMs = performance.now();
  await verify(await old.sign(), 'sig', 300);
  expect(performance.now() - startedMs).toBeLessThan(280);
  // What is not among the old ones is waited for.
  await verify(await fresh.sign());
  await expect(verify(await old.sign())).rejects.toThrow('key');
  expect(fetches).toBe(3);
});

test('a set without keys revokes them all, a document without a set revokes nothing', async () => {
  const key = await makeKey('k1');
  publish(key.jwk);
  const text = await key.sign();
  await verify(text);
  world.aheadMs = 600_001;
  document = { status: 200, body: '{"error":"maintenance"}' };
  await verify(text);
  world.aheadMs = 602_002;
  publish();
  await expect(verify(text)).rejects.toThrow('key');
});

test('there is no key by default: without kid, with a foreign or a doubled one nothing is tried', async () => {
  const [one, other] = [await makeKey('k1'), await makeKey('k1')];
  publish(one.jwk);
  await expect(verify(await one.sign({ kid: undefined }))).rejects.toThrow('key');
  await expect(verify(await other.sign())).rejects.toThrow('signature');
  keys = new JwksCache(world, fetch);
  publish(one.jwk, other.jwk);
  await expect(verify(await one.sign())).rejects.toThrow('key');
});

test('a key serves the use, the algorithm and the operation that its owner states, and no other', async () => {
  const svid = await makeKey('svid', 'ES256', { use: 'jwt-svid' });
  const sig = await makeKey('sig', 'ES256', { use: 'sig' });
  const enc = await makeKey('enc', 'ES256', { use: 'enc' });
  const unstated = await makeKey('unstated');
  const wrap = await makeKey('wrap', 'ES256', { key_ops: ['wrapKey'] });
  const odd = await makeKey('odd', 'ES256', { alg: 'ES384' });
  const named = await makeKey('named', 'EdDSA', { alg: 'Ed25519' });
  publish(...[svid, sig, enc, unstated, wrap, odd, named].map(({ jwk }) => jwk));
  await verify(await svid.sign(), 'jwt-svid');
  await verify(await sig.sign());
  await verify(await unstated.sign());
  await expect(verify(await svid.sign())).rejects.toThrow('key');
  for (const key of [sig, unstated]) await expect(verify(await key.sign(), 'jwt-svid')).rejects.toThrow('key');
  for (const key of [enc, wrap, odd, named]) await expect(verify(await key.sign())).rejects.toThrow('key');
});

test('keys that were fetched under one authority are not keys under another', async () => {
  let authority: string | undefined = '/etc/former.pem';
  keys = new JwksCache(world, fetch, () => authority);
  const { old, fresh } = await rotateAfterFetch();
  publish(fresh.jwk);
  const text = await old.sign();
  await verify(text);
  for (authority of ['/etc/present.pem', undefined]) await expect(verify(text)).rejects.toThrow('key');
});

test('keys of one URL are not keys of another', async () => {
  const key = await makeKey('k1');
  publish(key.jwk);
  const jws = readStrictJws(await key.sign());
  await keys.verify(jws, url, 'sig', 1000);
  await expect(keys.verify(jws, new URL('https://other.example.org/jwks'), 'sig', 1000)).rejects.toThrow('unavailable');
});
