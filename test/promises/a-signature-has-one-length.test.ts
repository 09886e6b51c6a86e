import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isJwsSignature, signJws } from '../../proxy/spiffe/jws-signature.ts';
import { type KeyIssuer, openKeyIssuer } from '../fakes/key-issuer.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const origin = 'http://agent.localhost';
let issuer: KeyIssuer;
let stage: WayInStage;

beforeAll(async () => {
  issuer = await openKeyIssuer(origin);
  stage = await openWayIn({
    inbound: { accept: [{ issuer: issuer.issuer, proof: 'dpop' }] },
    sections: { trust: { issuers: [{ issuer: issuer.issuer }] } },
  });
});
afterAll(async () => {
  await stage?.close();
  await issuer?.close();
});

const signatureOf = (jws: string): Buffer => Buffer.from(jws.slice(jws.lastIndexOf('.') + 1), 'base64url');

/** The first of several texts, equal but for chance, whose signature as a number begins with a zero: one in 256 does. */
function withZero(make: () => string): string {
  for (;;) {
    const jws = make();
    if (signatureOf(jws)[0] === 0) return jws;
  }
}

/** The same number, written without its zero in front (RFC 8017 8.1.2 wants all octets). */
function cut(jws: string): string {
  return `${jws.slice(0, jws.lastIndexOf('.') + 1)}${signatureOf(jws).subarray(1).toString('base64url')}`;
}

test.each(['PS256', 'PS384', 'PS512'])('W6: a token signed with %s has one spelling', async (alg) => {
  const caller = await stage.caller();
  const claims = () => issuer.claims({ cnf: { jkt: caller.key.jkt } });
  const token = withZero(() => issuer.token(claims(), { alg }));
  await expectPasses(stage, 'whole', () => caller.send({ path: '/x', token }));
  await expectEachRefused(stage, [
    { what: 'cut', code: 'token_invalid', send: () => caller.send({ path: '/x', token: cut(token) }) },
  ]);
});

test('W6: so has a proof', async () => {
  const caller = await stage.caller({}, 'PS256');
  const token = issuer.token(issuer.claims({ cnf: { jkt: caller.key.jkt } }));
  const proof = withZero(() => caller.proofFor({ path: '/x', token }));
  await expectEachRefused(stage, [
    { what: 'cut', code: 'proof_invalid', send: () => caller.send({ path: '/x', token, proof: cut(proof) }) },
  ]);
  await expectPasses(stage, 'whole', () => caller.send({ path: '/x', token, proof }));
});

test('W6: so have links, JWT-SVIDs and checkpoints', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  let count = 0;
  const jws = withZero(() => `head.${count++}.${signJws('PS256', privateKey, `head.${count - 1}`)}`);
  const input = jws.slice(0, jws.lastIndexOf('.'));
  expect(isJwsSignature('PS256', publicKey, input, signatureOf(jws))).toBe(true);
  expect(isJwsSignature('PS256', publicKey, input, signatureOf(cut(jws)))).toBe(false);
});
