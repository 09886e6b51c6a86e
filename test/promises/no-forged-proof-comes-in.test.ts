import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Caller } from '../stage/caller.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { encode, makeKey, signJws } from '../stage/signing-key.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;
let caller: Caller;

beforeAll(async () => {
  stage = await openWayIn();
  caller = await stage.caller();
});
afterAll(() => stage?.close());

const attack = (what: string, proof: () => string, code = 'proof_invalid'): Attack => ({
  what,
  code,
  send: () => caller.send({ proof: proof() }),
});
const withHeader = (what: string, header: Record<string, unknown>, code?: string): Attack =>
  attack(what, () => caller.proofFor({ header }), code);
const withClaims = (what: string, claims: Record<string, unknown>, code?: string): Attack =>
  attack(what, () => caller.proofFor({ claims }), code);

/** A proof with another header, or payload, as text; signed by the caller's key. */
function raw(change: { header?: (text: string) => string; payload?: (text: string) => string }): string {
  const [header = '', payload = ''] = caller
    .proofFor()
    .split('.')
    .map((part) => Buffer.from(part, 'base64url').toString());
  return signJws({ raw: change.header?.(header) ?? header }, { raw: change.payload?.(payload) ?? payload }, caller.key);
}

test('attack proofs: the header of a proof says neither another kind nor another algorithm nor another key', async () => {
  const { jwk, jkt } = caller.key;
  const thief = await makeKey();
  const exported = caller.key.privateKey.export({ format: 'jwk' });
  const p384 = await makeKey('ES384');
  const rsa = await makeKey('RS256');
  const unsigned = (alg: string) => (): string =>
    `${encode({ typ: 'dpop+jwt', alg, jwk })}.${caller.proofFor().split('.')[1]}.`;
  const hmac = (): string => {
    const input = `${encode({ typ: 'dpop+jwt', alg: 'HS256', jwk })}.${caller.proofFor().split('.')[1]}`;
    return `${input}.${createHmac('sha256', JSON.stringify(jwk)).update(input).digest('base64url')}`;
  };
  await expectEachRefused(stage, [
    withHeader('typ missing', { typ: undefined }),
    withHeader('typ JWT', { typ: 'JWT' }),
    withHeader('typ at+jwt', { typ: 'at+jwt' }),
    withHeader('typ of another proof', { typ: 'wpt+jwt' }),
    withHeader('typ as a list', { typ: ['dpop+jwt'] }),
    attack('alg none, unsigned', unsigned('none')),
    attack('alg None, unsigned', unsigned('None')),
    attack('ES256, unsigned', unsigned('ES256')),
    attack('HS256 with the public key', hmac),
    withHeader('alg missing', { alg: undefined }),
    withHeader('alg of another curve', { alg: 'ES384' }),
    withHeader('alg of another kind', { alg: 'RS256' }),
    withHeader('ES256K', { alg: 'ES256K' }),
    withHeader('ML-DSA', { alg: 'ML-DSA-44' }),
    withHeader('jwk missing', { jwk: undefined }),
    withHeader('jwk as a text', { jwk: JSON.stringify(jwk) }),
    withHeader('jwk as a list', { jwk: [jwk] }),
    withHeader('the private key', { jwk: exported }),
    withHeader('a symmetric key', { jwk: { kty: 'oct', k: 'c2VjcmV0' } }),
    withHeader('a symmetric part', { jwk: { ...jwk, k: 'c2VjcmV0' } }),
    withHeader('a key for encryption', { jwk: { ...jwk, use: 'enc' } }),
    withHeader('a key that signs only', { jwk: { ...jwk, key_ops: ['sign'] } }),
    withHeader('a key for another algorithm', { jwk: { ...jwk, alg: 'ES384' } }),
    withHeader('kty of another kind', { jwk: { ...jwk, kty: 'RSA' } }),
    withHeader('a curve that does not fit', { jwk: { ...jwk, crv: 'P-384' } }),
    withHeader('without y', { jwk: { ...jwk, y: undefined } }),
    withHeader('x padded', { jwk: { ...jwk, x: `${jwk.x}=` } }),
    withHeader('x with a leading zero', {
      jwk: { ...jwk, x: Buffer.concat([Buffer.of(0), Buffer.from(jwk.x ?? '', 'base64url')]).toString('base64url') },
    }),
    withHeader('kid in place of a key', { jwk: undefined, kid: jkt }),
    withHeader('x5c in place of a key', { jwk: undefined, x5c: ['AAAA'] }),
    withHeader('crit', { crit: ['jwk'] }),
    withHeader('b64 false', { b64: false, crit: ['b64'] }),
    withHeader('zip', { zip: 'DEF' }),
    attack('alg twice', () => raw({ header: (text) => text.replace('{', '{"alg":"none",') })),
    attack('jwk twice', () => raw({ header: (text) => text.replace('{', `{"jwk":${JSON.stringify(thief.jwk)},`) })),
    attack('signed by another key than its own', () => caller.proofFor({ key: { ...thief, jwk } })),
    attack('a flipped signature', () =>
      caller.proofFor().replace(/.{4}$/, (end) => (end === 'AAAA' ? 'BBBA' : 'AAAA')),
    ),
    attack('of three hundred kinds of text', () => 'x'.repeat(300)),
    attack('the token', () => caller.token, 'proof_invalid'),
    // Each of these is a whole proof, by a key that the token does not know.
    attack('another key', () => caller.proofFor({ key: thief }), 'token_foreign_presenter'),
    attack('another key on another curve', () => caller.proofFor({ key: p384 }), 'token_foreign_presenter'),
    attack('another kind of key', () => caller.proofFor({ key: rsa }), 'token_foreign_presenter'),
  ]);
});

test('attack proofs: every claim is there, once, and in its form', async () => {
  const twice = (name: string, value: string): Attack =>
    attack(`${name} twice`, () => raw({ payload: (text) => text.replace('{', `{"${name}":${value},`) }));
  await expectEachRefused(stage, [
    ...['jti', 'htm', 'htu', 'iat', 'ath'].map((name) => withClaims(`without ${name}`, { [name]: undefined })),
    withClaims('jti empty', { jti: '' }),
    withClaims('jti as a number', { jti: 1 }),
    withClaims('jti of 257 bytes', { jti: 'a'.repeat(257) }),
    withClaims('jti of 256 bytes in fewer characters', { jti: 'ü'.repeat(129) }),
    attack('jti with half a character', () => raw({ payload: (text) => text.replace(/"jti":"/, '"jti":"\\ud800') })),
    withClaims('iat as a text', { iat: '1' }),
    withClaims('iat with a fraction', { iat: Date.now() / 1000 + 0.5 }),
    withClaims('iat below zero', { iat: -1 }),
    withClaims('htm as a list', { htm: ['GET'] }),
    withClaims('htu as a list', { htu: [`${stage.origin}/`] }),
    withClaims('ath as a list', { ath: [1] }),
    withClaims('nonce as a list', { nonce: [caller.nonce] }),
    withClaims('wbd as a number', { wbd: 1 }),
    twice('htm', '"DELETE"'),
    twice('htu', '"http://other.localhost/"'),
    twice('jti', '"another"'),
    twice('ath', '"x"'),
    attack('a list', () => raw({ payload: (text) => `[${text}]` })),
    attack('no JSON', () => raw({ payload: () => 'proof' })),
    attack('something behind it', () => raw({ payload: (text) => `${text} {}` })),
    withClaims('htm in lower case', { htm: 'get' }, 'proof_wrong_method'),
    withClaims('htm empty', { htm: '' }, 'proof_wrong_method'),
    withClaims('ath empty', { ath: '' }, 'proof_wrong_token'),
    withClaims('ath in hex', { ath: Buffer.from(caller.token).toString('hex') }, 'proof_wrong_token'),
    withClaims('a chain that was not sent', { wbd: 'A'.repeat(43) }, 'proof_wrong_chain'),
  ]);
});

test.for(['ES256', 'ES384', 'EdDSA', 'Ed25519', 'RS256', 'PS256'])(
  'every good one accepted: a proof with %s',
  async (alg) => {
    const other = await stage.caller({}, alg);
    await expectPasses(stage, alg, () => other.send({ path: '/x' }));
  },
);

test('every good one accepted: claims and header members of its own, and a jti of 256 bytes', async () => {
  const { jwk } = caller.key;
  await expectPasses(stage, 'claims', () => caller.send({ claims: { exp: 1, aud: 'x', extra: { a: [1] } } }));
  await expectPasses(stage, 'key', () =>
    caller.send({ header: { jwk: { ...jwk, use: 'sig', alg: 'ES256', kid: 'mine' } } }),
  );
  await expectPasses(stage, 'typ', () => caller.send({ header: { typ: 'DPoP+JWT' } }));
  await expectPasses(stage, 'jti', () => caller.send({ claims: { jti: 'j'.repeat(256) } }));
  await expectPasses(stage, 'a little ahead', () =>
    caller.send({ claims: { iat: Math.floor(Date.now() / 1000) + 3 } }),
  );
  await expectPasses(stage, 'a little old', () => caller.send({ claims: { iat: Math.floor(Date.now() / 1000) - 50 } }));
});

test('the key of a proof is compared with the token’s before any signature is looked at', async () => {
  const thief = await makeKey();
  const offCurve = { ...thief.jwk, y: Buffer.alloc(32, 7).toString('base64url') };
  const garbage = (): string =>
    caller.proofFor({ key: thief }).replace(/[^.]+$/, Buffer.alloc(64, 1).toString('base64url'));
  // With the key of the token, the same faults are found by the signature.
  await expectEachRefused(stage, [
    attack('a foreign key and no signature of it', garbage, 'token_foreign_presenter'),
    attack(
      'a foreign key that is no point',
      () => caller.proofFor({ key: { ...thief, jwk: offCurve } }),
      'token_foreign_presenter',
    ),
    attack(
      'a foreign key, for another method',
      () => caller.proofFor({ key: thief, htm: 'PUT' }),
      'token_foreign_presenter',
    ),
    attack(
      'a foreign key, long over',
      () => caller.proofFor({ key: thief, claims: { iat: 1 } }),
      'token_foreign_presenter',
    ),
    // Whoever stole a token and makes proofs badly is a thief all the same.
    attack(
      'a foreign key, of another typ',
      () => caller.proofFor({ key: thief, header: { typ: 'JWT' } }),
      'token_foreign_presenter',
    ),
    ...[{ ath: undefined }, { iat: '1' }, { jti: '' }, { nonce: 5 }].map((claims) =>
      attack(
        `a foreign key, and claims not in their form (${Object.keys(claims).join()})`,
        () => caller.proofFor({ key: thief, claims }),
        'token_foreign_presenter',
      ),
    ),
    attack('the right key and no signature of it', () =>
      caller.proofFor().replace(/[^.]+$/, Buffer.alloc(64, 1).toString('base64url')),
    ),
    attack('the right key and no signature, for another method', () =>
      caller.proofFor({ htm: 'PUT', key: { ...thief, jwk: caller.key.jwk } }),
    ),
  ]);
  expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
});
