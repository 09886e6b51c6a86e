import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { calculateJwkThumbprint, decodeProtectedHeader, EmbeddedJWK, jwtVerify, type JWK } from 'jose';
import { expect, test } from 'vitest';
import { IssuedToken } from '../../proxy/exchange/issued-token.ts';
import { makeDpopProof, makeProofKey, thumbprint } from '../../proxy/proofs/dpop.ts';

const file = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'rfc9449.json');

interface Vectors {
  readonly jwk: { crv: string; x: string; y: string };
  readonly jkt: string;
  readonly accessToken: string;
  readonly ath: string;
  readonly proofs: readonly { name: string; proof: string; verifyAt: number; valid: boolean }[];
}

function readVectors(): Vectors | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Vectors) : undefined;
}

test('thumbprint and token hash are those of the published example', ({ skip }) => {
  const vectors = readVectors();
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  expect(thumbprint(vectors.jwk)).toBe(vectors.jkt);
  const token = new IssuedToken({
    text: vectors.accessToken,
    service: 'corp',
    audience: ['crm'],
    scopes: [],
    tokenType: 'DPoP',
    expiresAtMs: 0,
    validUntilMs: 0,
    issuedAtMs: 0,
  });
  expect(token.ath).toBe(vectors.ath);
});

test('a proof of ours has the members of the published ones and verifies with an independent implementation', async ({
  skip,
}) => {
  const vectors = readVectors();
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const key = makeProofKey();
  for (const { proof, verifyAt } of vectors.proofs) {
    const options = { typ: 'dpop+jwt', algorithms: ['ES256'], currentDate: new Date(verifyAt * 1000) };
    const { payload: published } = await jwtVerify(proof, EmbeddedJWK, options);
    const { jti, htm, htu, iat, ath } = published as Record<string, string | undefined> & { iat: number };
    const ours = makeDpopProof(key, { htm: htm!, htu: htu!, iatSeconds: iat, jti: jti!, ath });
    const { payload, protectedHeader } = await jwtVerify(ours, EmbeddedJWK, options);
    expect(payload).toEqual(published);
    expect(Object.keys(protectedHeader)).toEqual(Object.keys(decodeProtectedHeader(proof)));
    const jwk = protectedHeader.jwk as JWK;
    expect(Object.keys(jwk).toSorted()).toEqual(['crv', 'kty', 'x', 'y']);
    expect(await calculateJwkThumbprint(jwk)).toBe(key.jkt);
  }
});
