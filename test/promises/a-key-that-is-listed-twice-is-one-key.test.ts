import { afterAll, beforeAll, expect, test } from 'vitest';
import { type KeyIssuer, openKeyIssuer } from '../fakes/key-issuer.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { makeKey } from '../stage/signing-key.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const origin = 'http://agent.localhost';
/** Lists its keys twice, as services do that list a key for each of its certificates or users. */
let twice: KeyIssuer;
/** Lists another key under the name of its own. */
let unclear: KeyIssuer;
let stage: WayInStage;

beforeAll(async () => {
  twice = await openKeyIssuer(origin);
  unclear = await openKeyIssuer(origin);
  twice.published.push(...twice.published.map((key) => ({ ...key, x5t: 'of another certificate' })));
  const { jwk } = await makeKey('ES256');
  unclear.published.push({ ...jwk, kid: unclear.keys['ES256']!.kid });
  const issuers = [twice, unclear].map(({ issuer }) => issuer);
  stage = await openWayIn({
    inbound: { accept: issuers.map((issuer) => ({ issuer, proof: 'dpop' })) },
    sections: { trust: { issuers: issuers.map((issuer) => ({ issuer })) } },
  });
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([twice?.close(), unclear?.close()]);
});

test('a key that its issuer lists twice verifies its tokens', async () => {
  const caller = await stage.caller();
  for (const alg of ['ES256', 'RS256', 'PS256', 'Ed25519']) {
    const token = twice.token(twice.claims({ cnf: { jkt: caller.key.jkt } }), { alg });
    await expectPasses(stage, alg, () => caller.send({ path: '/x', token }));
  }
  expect(twice.fetches.keys).toBe(1);
});

test('W1: of two keys of one name neither is tried', async () => {
  const caller = await stage.caller();
  const token = unclear.token(unclear.claims({ cnf: { jkt: caller.key.jkt } }));
  await expectEachRefused(stage, [
    { what: 'two keys', code: 'token_invalid', send: () => caller.send({ path: '/x', token }) },
  ]);
});
