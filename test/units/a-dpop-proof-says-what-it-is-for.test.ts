import { generateKeyPairSync } from 'node:crypto';
import { inspect } from 'node:util';
import { decodeJwt, decodeProtectedHeader, EmbeddedJWK, jwtVerify } from 'jose';
import { expect, test } from 'vitest';
import { makeDpopProof, makeProofKey, ProofKey } from '../../proxy/proofs/dpop.ts';

const claims = { htm: 'GET', htu: 'https://crm.example.org/a', iatSeconds: 1_700_000_000, jti: 'abc' };

test('a proof holds exactly what it was made for', async () => {
  const key = makeProofKey();
  const plain = makeDpopProof(key, claims);
  expect(decodeJwt(plain)).toEqual({ jti: 'abc', htm: 'GET', htu: 'https://crm.example.org/a', iat: 1_700_000_000 });
  expect(decodeProtectedHeader(plain)).toMatchObject({
    typ: 'dpop+jwt',
    alg: 'ES256',
    jwk: { kty: 'EC', crv: 'P-256' },
  });
  const bound = makeDpopProof(key, { ...claims, ath: 'hash', nonce: 'n-1' });
  expect(decodeJwt(bound)).toMatchObject({ ath: 'hash', nonce: 'n-1' });
  await jwtVerify(bound, EmbeddedJWK, { typ: 'dpop+jwt' });
});

test('what others chose cannot change the shape of a proof', () => {
  const nasty = '"},"htm":"DELETE","x":"\\ü\u2028';
  const proof = makeDpopProof(makeProofKey(), { ...claims, htm: nasty, htu: nasty, nonce: nasty });
  expect(decodeJwt(proof)).toEqual({ jti: 'abc', htm: nasty, htu: nasty, iat: 1_700_000_000, nonce: nasty });
});

test('the private key is in no header and cannot be printed', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { d } = privateKey.export({ format: 'jwk' });
  const key = new ProofKey(privateKey);
  const header = decodeProtectedHeader(makeDpopProof(key, claims));
  const printed = [
    inspect(key, { showHidden: true, depth: 9 }),
    JSON.stringify(key),
    Object.values(key).join(),
    JSON.stringify(header),
  ].join();
  expect(printed).not.toContain(d);
  expect(header.jwk).not.toHaveProperty('d');
});

test('only a private P-256 key is a proof key', () => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  for (const key of [other.privateKey, publicKey, generateKeyPairSync('ed25519').privateKey]) {
    expect(() => new ProofKey(key)).toThrow('P-256');
  }
});
