import { expect, test } from 'vitest';
import { ProofFault, readDpopProof, verifyDpopProof } from '../../proxy/proofs/dpop-check.ts';
import { forgeProof, makeCallerKey } from '../fakes/proof-forge.ts';

const nowMs = Date.now();
const request = {
  method: 'GET',
  origin: 'http://a.localhost',
  path: '/x',
  ath: 'hash',
  nowMs,
  maxAgeMs: 60_000,
  futureMs: 5000,
};
const claims = { htm: 'GET', htu: 'http://a.localhost/x', iat: Math.floor(nowMs / 1000), ath: 'hash' };
const prove = (key: ReturnType<typeof makeCallerKey>, jti: string): string => forgeProof(key, { jti, ...claims });

function reasonOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof ProofFault) return `${error.reason}: ${error.check}`;
    throw error;
  }
  return 'good';
}

test('behind a known header every proof is checked as before', () => {
  const key = makeCallerKey();
  const first = prove(key, 'first');
  expect(reasonOf(() => verifyDpopProof(readDpopProof(first), request))).toBe('good');
  const second = prove(key, 'second');
  expect(reasonOf(() => verifyDpopProof(readDpopProof(second), request))).toBe('good');
  // The payload of one proof under the signature of another, and another key's signature under this header.
  const [header, payload] = second.split('.');
  const foreign = prove(makeCallerKey(), 'second').split('.')[2];
  for (const signature of [first.split('.')[2], foreign]) {
    const forged = `${header}.${payload}.${signature}`;
    expect(reasonOf(() => verifyDpopProof(readDpopProof(forged), request))).toBe('proof_invalid: signature');
  }
  for (const other of [`${second}=`, `${second}.x`, ` ${second}`, `${header}.${payload}`, `${header}.e30.${foreign}`]) {
    expect(reasonOf(() => verifyDpopProof(readDpopProof(other), request))).toMatch(
      /^proof_invalid: (?:malformed|claims)$/,
    );
  }
});

test('a key in a header proves nothing without its signature, at the first time and at the next', () => {
  const key = makeCallerKey();
  const other = makeCallerKey();
  // A proof with the header of `key`, signed by somebody who does not have it.
  const forged = forgeProof(other, { jti: 'x', ...claims }, { jwk: key.jwk });
  expect(reasonOf(() => verifyDpopProof(readDpopProof(forged), request))).toBe('proof_invalid: signature');
  expect(readDpopProof(forged).jkt).toBe(readDpopProof(prove(key, 'y')).jkt);
  expect(reasonOf(() => verifyDpopProof(readDpopProof(forged), request))).toBe('proof_invalid: signature');
});
