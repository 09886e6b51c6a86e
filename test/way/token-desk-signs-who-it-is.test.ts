import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { decodeJwt, jwtVerify, SignJWT, generateKeyPair } from 'jose';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { openDesk, refusalOf } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

const folder = mkdtempSync(join(tmpdir(), 'desk-keys-'));
const jwtBearer = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
let service: FakeTokenService;

beforeEach(async () => {
  service = await openFakeTokenService();
});
afterEach(() => service.close());
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(content: string): string {
  const file = join(folder, `${Math.random()}`);
  writeFileSync(file, content, { mode: 0o600 });
  return file;
}

/** Verifies an assertion with the public half of a key. */
const verified = (form: URLSearchParams, key: KeyObject) =>
  jwtVerify(form.get('client_assertion') ?? '', createPublicKey(key));

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' });

/** Settings of a client with a key, and what they leave out. */
function keyed(keyFile: string, more: Partial<ServiceSettings> = {}) {
  const base = { client_auth: 'private_key_jwt', client_id: 'invoice-bot', client_key_file: keyFile } as const;
  return { ...base, actor: 'none', expect: { act: 'none' }, ...more } as const;
}

/** The form of one exchange with these settings. */
async function exchanged(settings: Parameters<typeof openDesk>[1]): Promise<URLSearchParams> {
  const { desk, order } = await openDesk(service, settings);
  await desk.take(await order());
  return service.requests.at(-1)!.form;
}

const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ed = generateKeyPairSync('ed25519');

test.for([
  ['ES256', ec('P-256')],
  ['ES384', ec('P-384')],
  ['RS256', rsa],
  ['EdDSA', ed],
] as const)('an assertion is signed with %s, for the issuer alone and for a minute', async ([alg, pair]) => {
  const form = await exchanged(keyed(fileOf(pemOf(pair.privateKey))));
  expect([form.get('client_assertion_type'), form.get('client_id')]).toEqual([jwtBearer, 'invoice-bot']);
  const { payload, protectedHeader } = await jwtVerify(form.get('client_assertion')!, pair.publicKey);
  expect(protectedHeader).toEqual({ alg, typ: 'client-authentication+jwt' });
  const { iat = 0, jti } = payload;
  expect(payload).toEqual({ iss: 'invoice-bot', sub: 'invoice-bot', aud: service.issuer, iat, exp: iat + 60, jti });
  expect(Math.abs(iat - Date.now() / 1000)).toBeLessThan(5);
  expect(jti).toMatch(/^[\w-]{22}$/);
});

test.for([
  ['ES256', ec('P-256').privateKey, {}],
  ['PS256', rsa.privateKey, { alg: 'PS256', use: 'sig' }],
  ['Ed25519', ed.privateKey, { alg: 'Ed25519' }],
] as const)('a JWK says its name and its algorithm: %s', async ([alg, key, more]) => {
  const jwk = { ...key.export({ format: 'jwk' }), kid: 'own-1', ...more };
  const form = await exchanged(keyed(fileOf(JSON.stringify(jwk)), { client_key_id: undefined }));
  const { protectedHeader } = await verified(form, key);
  expect(protectedHeader).toMatchObject({ alg, kid: 'own-1' });
  const named = await exchanged(keyed(fileOf(JSON.stringify(jwk)), { client_key_id: 'theirs' }));
  expect((await verified(named, key)).protectedHeader.kid).toBe('theirs');
});

test('a service that knows no better gets the audience and the typ that it wants', async () => {
  const { privateKey } = ec('P-256');
  const keyFile = fileOf(pemOf(privateKey));
  const old = await exchanged(keyed(keyFile, { assertion: { audience: 'token_endpoint', typ: 'JWT' } }));
  expect(decodeJwt(old.get('client_assertion')!).aud).toBe(`${service.issuer}/token`);
  expect((await verified(old, privateKey)).protectedHeader.typ).toBe('JWT');
  const bare = await exchanged(keyed(keyFile, { assertion: { audience: 'issuer', typ: 'none' } }));
  expect((await verified(bare, privateKey)).protectedHeader).toEqual({ alg: 'ES256' });
});

test('a key that is replaced on disk signs the next assertion', async () => {
  const [first, second] = [ec('P-256'), ec('P-384')];
  const keyFile = fileOf(pemOf(first.privateKey));
  const { desk, order } = await openDesk(service, keyed(keyFile));
  await desk.take(await order());
  writeFileSync(keyFile, pemOf(second.privateKey));
  await desk.take(await order({ txn: 'txn-2' }));
  const [before, after] = service.requests.map(({ form }) => form.get('client_assertion')!);
  await jwtVerify(before!, first.publicKey);
  await jwtVerify(after!, second.publicKey);
});

test.for([
  ['no file', undefined],
  ['nothing', ''],
  ['no key', 'secret-but-no-key'],
  ['a public key', ec('P-256').publicKey.export({ type: 'spki', format: 'pem' })],
  ['a short RSA key', pemOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey)],
  ['a curve that is not for this', pemOf(ec('secp256k1').privateKey)],
  ['a key for key agreement', pemOf(generateKeyPairSync('x25519').privateKey)],
  ['a key for encryption', JSON.stringify({ ...rsa.privateKey.export({ format: 'jwk' }), use: 'enc' })],
  ['another algorithm', JSON.stringify({ ...rsa.privateKey.export({ format: 'jwk' }), alg: 'HS256' })],
  ['an algorithm of another key', JSON.stringify({ ...rsa.privateKey.export({ format: 'jwk' }), alg: 'ES256' })],
  ['a broken JWK', '{"kty":"EC"'],
] as const)('%s signs nothing, and is not told', async ([, content]) => {
  const keyFile = content === undefined ? join(folder, 'absent') : fileOf(content);
  const { desk, order } = await openDesk(service, keyed(keyFile));
  const wanted = await order();
  const refusal = await refusalOf(() => desk.take(wanted));
  expect([refusal.code, service.counts.token]).toEqual(['identity_unavailable', 0]);
  const told = inspect(refusal, { depth: 9 });
  expect(told).not.toContain(keyFile);
  if (content !== undefined && content !== '') expect(told).not.toContain(content.slice(0, 12));
});

const cluster = await generateKeyPair('RS256');

function clusterToken(aud: string | string[], lifeSeconds = 3600, more: object = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const sub = 'system:serviceaccount:payments:invoice-bot';
  return new SignJWT({ iss: 'https://kubernetes.default.svc', sub, aud, iat: now, exp: now + lifeSeconds, ...more })
    .setProtectedHeader({ alg: 'RS256', kid: 'cluster-1' })
    .sign(cluster.privateKey);
}

const projected = (file: string, more: Partial<ServiceSettings> = {}) =>
  ({ client_auth: 'kubernetes_jwt', token_file: file, actor: 'none', expect: { act: 'none' }, ...more }) as const;

test('the token of the pod is the assertion, as the kubelet left it last', async () => {
  const first = await clusterToken([service.issuer]);
  const file = fileOf(first);
  const form = await exchanged(projected(file));
  expect([form.get('client_assertion_type'), form.get('client_assertion')]).toEqual([jwtBearer, first]);
  expect(form.has('client_id')).toBe(false);
  const second = await clusterToken(service.issuer, 7200);
  writeFileSync(file, `${second}\n`);
  const named = await exchanged(projected(file, { client_id: 'invoice-bot' }));
  expect([named.get('client_assertion'), named.get('client_id')]).toEqual([second, 'invoice-bot']);
  writeFileSync(file, await clusterToken(`${service.issuer}/token`));
  await exchanged(projected(file, { assertion: { audience: 'token_endpoint', typ: 'none' } }));
});

test('a service without a file of its own gets the token of the identity, for its own audience', async () => {
  const audiences: string[] = [];
  const readToken = async (audience: string) => {
    audiences.push(audience);
    const text = await clusterToken(audience);
    return { token: () => text, expiresAtMs: Date.now() + 60_000 };
  };
  const settings = { client_auth: 'kubernetes_jwt', actor: 'none', expect: { act: 'none' } } as const;
  const { desk, order } = await openDesk(service, settings, { clusterTokens: { readToken } });
  await desk.take(await order());
  expect(audiences).toEqual([service.issuer]);
  expect(decodeJwt(service.requests[0]!.form.get('client_assertion')!).aud).toBe(service.issuer);
  const nobody = await openDesk(service, settings);
  const wanted = await nobody.order();
  expect((await refusalOf(() => nobody.desk.take(wanted))).code).toBe('identity_unavailable');
});

const useless: readonly (readonly [string, () => Promise<string>])[] = [
  ['for the API of the cluster', () => clusterToken('https://kubernetes.default.svc')],
  ['for the API of the cluster too', () => clusterToken([service.issuer, 'https://kubernetes.default.svc'])],
  ['for the issuer with a slash', () => clusterToken(`${service.issuer}/`)],
  ['for nobody', () => clusterToken([])],
  ['that has expired', () => clusterToken(service.issuer, -1)],
  ['without end', () => clusterToken(service.issuer, 60, { exp: undefined })],
  ['that is none', async () => 'not.a.token'],
];

test.for(useless)('a token of the pod %s is not given away', async ([, make]) => {
  const text = await make();
  const { desk, order } = await openDesk(service, projected(fileOf(text)));
  const wanted = await order();
  const refusal = await refusalOf(() => desk.take(wanted));
  expect([refusal.code, service.counts.token]).toEqual(['identity_unavailable', 0]);
  expect(inspect(refusal, { depth: 9 })).not.toContain(text);
});
