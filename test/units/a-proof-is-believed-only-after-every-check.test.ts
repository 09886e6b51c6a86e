import { sign } from 'node:crypto';
import { expect, test } from 'vitest';
import { makeDpopProof, makeProofKey } from '../../proxy/proofs/dpop.ts';
import { ProofFault, readDpopProof, verifyDpopProof, type ProvedRequest } from '../../proxy/proofs/dpop-check.ts';
import { proofAlgs, readPublicJwk } from '../../proxy/proofs/public-jwk.ts';
import { encode, forge, forgeProof, makeCallerKey, sha256, signInput, type CallerKey } from '../fakes/proof-forge.ts';

const iat = 1_700_000_000;
const ath = sha256('token');
const claims = { jti: 'j-1', htm: 'GET', htu: 'https://bot.example.org/a', iat, ath };
const request: ProvedRequest = {
  method: 'GET',
  origin: 'https://bot.example.org',
  path: '/a',
  ath,
  nowMs: iat * 1000,
  maxAgeMs: 60_000,
  futureMs: 5000,
};
const key = makeCallerKey();

/** `good`, or reason and check of the fault. */
function verdict(proof: string, changed: Partial<ProvedRequest> = {}): string {
  try {
    verifyDpopProof(readDpopProof(proof), { ...request, ...changed });
    return 'good';
  } catch (error) {
    return error instanceof ProofFault ? error.message : `fault ${String(error)}`;
  }
}

test('what we make ourselves is verified, and all that it says comes out', () => {
  const own = makeProofKey();
  const made = { ...claims, iatSeconds: iat, nonce: 'n-1', wbd: sha256('chain') };
  const read = readDpopProof(makeDpopProof(own, made));
  expect(read.jkt).toBe(own.jkt);
  expect(verifyDpopProof(read, request)).toEqual({
    jti: 'j-1',
    jkt: own.jkt,
    iatSeconds: iat,
    nonce: 'n-1',
    wbd: sha256('chain'),
  });
  const { nonce, wbd } = verifyDpopProof(readDpopProof(forgeProof(key, claims)), request);
  expect([nonce, wbd]).toEqual([undefined, undefined]);
});

test.for(proofAlgs)('%s proofs are verified, with a key of their own kind only', (alg) => {
  const caller = makeCallerKey(alg);
  const proof = forgeProof(caller, claims);
  expect(verdict(proof)).toBe('good');
  expect(verdict(forgeProof(caller, claims, { jwk: { ...caller.jwk, alg, use: 'sig', key_ops: ['verify'] } }))).toBe(
    'good',
  );
  const [header, payload] = proof.split('.');
  const other = signInput(`${header}.${payload}`, makeCallerKey(alg)).toString('base64url');
  expect(verdict(`${header}.${payload}.${other}`)).toBe('proof_invalid: signature');
  for (const strange of proofAlgs.filter((one) => makeCallerKey(one).jwk['crv'] !== caller.jwk['crv'])) {
    expect(verdict(forgeProof(caller, claims, { jwk: makeCallerKey(strange).jwk }))).toBe('proof_invalid: jwk');
  }
});

test('reading looks at no signature, so that its key can be compared first', () => {
  const [header, payload] = forgeProof(key, claims).split('.');
  const unsigned = `${header}.${payload}.${encode('not a signature')}`;
  expect(readDpopProof(unsigned).jkt).toBe(readDpopProof(forgeProof(key, claims)).jkt);
  expect(verdict(unsigned)).toBe('proof_invalid: signature');
  // A point that is on no curve is found out when the key is imported, which is later too.
  const off = forgeProof(key, claims, { jwk: { ...key.jwk, y: Buffer.alloc(32, 7).toString('base64url') } });
  expect(readDpopProof(off).jkt).toHaveLength(43);
  expect(verdict(off)).toBe('proof_invalid: jwk');
});

test('of several faults the first in the order of RFC 9449 is told', () => {
  const wrong: [object, Partial<ProvedRequest>][] = [
    [{ htm: 'POST' }, {}],
    [{ htu: 'https://bot.example.org/b' }, {}],
    [{}, { nowMs: (iat + 61) * 1000 }],
    [{ ath: sha256('other') }, {}],
  ];
  const told = wrong.map((_, first) => {
    const rest = wrong.slice(first);
    const changes = rest.reduce((all, [change]) => ({ ...all, ...change }), {});
    const times = rest.reduce((all, [, time]) => ({ ...all, ...time }), {});
    return verdict(forgeProof(key, { ...claims, ...changes }), times);
  });
  expect(told).toEqual([
    'proof_wrong_method: htm',
    'proof_wrong_target: htu',
    'proof_expired: iat',
    'proof_wrong_token: ath',
  ]);
  const [header, payload] = forgeProof(key, { ...claims, htm: 'POST' }).split('.');
  expect(verdict(`${header}.${payload}.AAAA`)).toBe('proof_invalid: signature');
});

test('the window of iat is closed at both ends', () => {
  const proof = forgeProof(key, claims);
  const at = (ms: number): string => verdict(proof, { nowMs: iat * 1000 + ms });
  expect([at(60_000), at(60_001), at(-5000), at(-5001)]).toEqual([
    'good',
    'proof_expired: iat',
    'good',
    'clock_skew: iat',
  ]);
});

test('keys that are private, weak, for something else or spelled otherwise are refused before they are used', () => {
  const rsa = makeCallerKey('RS256');
  const edwards = makeCallerKey('EdDSA');
  const short = { kty: 'RSA', n: Buffer.alloc(128, 0xff).toString('base64url'), e: 'AQAB' };
  const loose = String(key.jwk['x']).replace(/.$/, (last) => String.fromCharCode(last.charCodeAt(0) + 1));
  const bad: [CallerKey, object][] = [
    ...['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].map((name): [CallerKey, object] => [key, { [name]: 'AA' }]),
    [key, { x: `${String(key.jwk['x'])}=` }],
    [key, { x: loose }],
    [key, { x: `AA${String(key.jwk['x'])}` }],
    [key, { x: 7 }],
    [key, { y: undefined }],
    [key, { crv: 'P-384' }],
    [key, { crv: 'secp256k1' }],
    [key, { kty: 'OKP' }],
    [key, { use: 'enc' }],
    [key, { key_ops: ['sign'] }],
    [key, { alg: 'ES384' }],
    [edwards, { alg: 'Ed25519' }],
    [edwards, { crv: 'X25519' }],
    [rsa, { e: 'AQ' }],
    [rsa, { e: 'Aw' }],
    [rsa, short],
    [rsa, { n: Buffer.alloc(1024, 0xff).toString('base64url') }],
    [rsa, { crv: 'P-256' }],
  ];
  const told = bad.map(([caller, change]) => {
    const proof = forgeProof(caller, claims, { jwk: { ...caller.jwk, ...change } });
    return [JSON.stringify(change).slice(0, 40), verdict(proof)];
  });
  expect(told).toEqual(told.map(([change]) => [change, 'proof_invalid: jwk']));
});

/** Order of P-256 (FIPS 186-5): for a signature (r, s), (r, n - s) is one too. */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

function flipS(signature: Buffer): Buffer {
  const s = BigInt(`0x${signature.subarray(32).toString('hex')}`);
  return Buffer.concat([signature.subarray(0, 32), Buffer.from((order - s).toString(16).padStart(64, '0'), 'hex')]);
}

test('twenty other spellings of one proof are refused, or are the same proof', () => {
  const proof = forgeProof(key, claims);
  const [header = '', payload = '', signature = ''] = proof.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const der = sign('sha256', Buffer.from(`${header}.${payload}`), key.privateKey);
  const respelled = (part: string): string => encode(Buffer.from(part, 'base64url').toString().replace('{', '{ '));
  const loose = signature.replace(/.$/, (last) => (last === 'A' ? 'B' : String.fromCharCode(last.charCodeAt(0) + 1)));
  const spellings = [
    `${proof}=`,
    `${proof}==`,
    `${header}=.${payload}.${signature}`,
    `${header}.${payload}=.${signature}`,
    ` ${proof}`,
    `${proof} `,
    `${proof}\n`,
    `${proof}\r\n`,
    `\t${proof}`,
    `${header}. ${payload}.${signature}`,
    `${header}.${payload}\n.${signature}`,
    `${proof}.`,
    `${proof},${proof}`,
    `"${proof}"`,
    `${header}.${payload}.${bytes.toString('base64').replace(/=+$/, '+')}`,
    `${header}.${payload}.${loose}`,
    `${header}.${payload}.${Buffer.concat([bytes, Buffer.alloc(1)]).toString('base64url')}`,
    `${header}.${payload}.${Buffer.concat([Buffer.alloc(1), bytes]).toString('base64url')}`,
    `${header}.${payload}.${der.toString('base64url')}`,
    `${respelled(header)}.${payload}.${signature}`,
    `${header}.${respelled(payload)}.${signature}`,
    JSON.stringify({ payload, signatures: [{ protected: header, signature }] }),
    encodeURIComponent(proof).replace(/\./, '%2E'),
  ];
  expect(spellings.map((text) => verdict(text))).toEqual(spellings.map(() => expect.stringMatching(/^proof_invalid/)));
  // Nothing can tell this one from the first: it is the same proof with the same id, and that is spent once.
  const twin = `${header}.${payload}.${flipS(bytes).toString('base64url')}`;
  const ids = [proof, twin].map((text) => {
    const { jti, jkt } = verifyDpopProof(readDpopProof(text), request);
    return { jti, jkt };
  });
  expect(ids[1]).toEqual(ids[0]);
});

test('members that come twice, ids that are no text, and optional claims of a wrong kind are refused', () => {
  const header = JSON.stringify({ typ: 'dpop+jwt', alg: key.alg, jwk: key.jwk });
  const twice = JSON.stringify(claims).replace('{', '{"jti":"j-0",');
  const nested = header.replace('"jwk":{', '"jwk":{"kty":"EC",');
  expect([verdict(forge(header, twice, key)), verdict(forge(nested, claims, key))]).toEqual(
    Array(2).fill('proof_invalid: malformed'),
  );
  const lone = JSON.stringify(claims).replace('j-1', String.raw`\ud800`);
  expect(verdict(forge(header, lone, key))).toBe('proof_invalid: claims');
  for (const change of [{ nonce: 7 }, { nonce: null }, { wbd: {} }, { htm: ['GET'] }, { htu: null }]) {
    expect(verdict(forgeProof(key, { ...claims, ...change }))).toBe('proof_invalid: claims');
  }
  expect(verdict(forgeProof(key, { ...claims, jti: 'x'.repeat(256), extra: 1 }))).toBe('good');
});

test('a fault holds nothing of the proof, and a proof does not print its text', () => {
  const proof = forgeProof(key, { ...claims, htm: 'POST' });
  const read = readDpopProof(proof);
  expect(JSON.stringify(read)).not.toContain(proof.split('.')[2]);
  const fault = (() => {
    try {
      return verifyDpopProof(read, request);
    } catch (error) {
      return error;
    }
  })();
  expect(fault).toMatchObject({ reason: 'proof_wrong_method', check: 'htm' });
  expect((fault as Error).stack).toBe('Error: proof_wrong_method: htm');
});

test('a key is imported once, for all proofs that carry it', () => {
  const { jwk } = makeCallerKey();
  const keys = ['ES256', 'ES256'].map((alg) => {
    const read = readPublicJwk(alg, { ...jwk, kid: 'any' });
    return typeof read === 'string' ? read : read.importKey();
  });
  expect(keys[0]).toMatchObject({ type: 'public' });
  expect(keys[1]).toBe(keys[0]);
});

test('more keys than are remembered are all good, again and again', () => {
  const callers = Array.from({ length: 1100 }, () => makeProofKey());
  for (const round of [1, 2]) {
    for (const caller of callers) {
      const made = { ...claims, jti: `j-${round}`, iatSeconds: iat };
      expect(verdict(makeDpopProof(caller, made))).toBe('good');
    }
  }
});
