import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCaller, type Caller } from '../stage/caller.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { makeKey, signJws } from '../stage/signing-key.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

describe('for its keys', () => {
  let stage: WayInStage;

  beforeAll(async () => {
    stage = await openWayIn();
  });
  afterAll(() => stage?.close());

  test('a key that was changed a moment after the keys were fetched is taken at once', async () => {
    const before = await stage.caller();
    await expectPasses(stage, 'the first key', () => before.send());
    const fetched = stage.service.counts.jwks;
    await stage.service.rotateKey();
    const after = await stage.caller();
    await expectPasses(stage, 'the new key', () => after.send());
    expect(stage.service.counts.jwks).toBe(fetched + 1);
    await expectPasses(stage, 'a token that was found good before', () => before.send());
    expect(stage.service.counts.jwks).toBe(fetched + 1);
  });

  test('a flood of tokens with keys that nobody knows asks once more at most', async () => {
    const caller = await stage.caller();
    await expectPasses(stage, 'honest', () => caller.send());
    const fetched = stage.service.counts.jwks;
    const thief = await makeKey();
    const [, payload = ''] = caller.token.split('.');
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
    const forge = (): string => {
      const kid = randomBytes(8).toString('hex');
      return signJws({ alg: 'ES256', typ: 'at+jwt', kid }, { ...claims, jti: kid }, thief);
    };
    const codes = await Promise.all(
      Array.from({ length: 50 }, async () => (await caller.send({ token: forge() })).code),
    );
    expect(codes).toEqual(codes.map(() => 'token_invalid'));
    expect(stage.service.counts.jwks - fetched).toBeLessThanOrEqual(1);
    await expectPasses(stage, 'honest, afterwards', () => caller.send());
  });
});

describe('whether a token is active', () => {
  let stage: WayInStage;
  let nonce: string | undefined;

  beforeAll(async () => {
    stage = await openWayIn({
      inbound: (issuer) => ({ accept: [{ issuer, proof: 'dpop', introspect: 'corp' }] }),
    });
    nonce = (await stage.caller()).nonce;
  });
  afterAll(() => stage?.close());

  /** A caller whose token was not seen yet; the service calls it active until it is revoked. */
  async function fresh(isActive: boolean): Promise<Caller> {
    const caller = await openCaller(stage.to);
    if (!isActive) stage.service.revoked.push(caller.token);
    caller.nonce = nonce;
    return caller;
  }

  test('of one that is not, whoever sends it however often', async () => {
    const caller = await fresh(false);
    const asked = stage.service.counts.introspect;
    const attack: Attack = { what: 'revoked', code: 'token_invalid', send: () => caller.send() };
    await expectEachRefused(stage, [attack, attack, attack, attack, attack]);
    expect(stage.service.counts.introspect - asked).toBe(1);
  });

  test('of one that comes many times at once, and is then known', async () => {
    for (const isActive of [true, false]) {
      const caller = await fresh(isActive);
      const asked = stage.service.counts.introspect;
      const answers = await Promise.all(Array.from({ length: 20 }, () => caller.send()));
      const ends = answers.map(({ status, code }) => code ?? status);
      expect(ends).toEqual(ends.map(() => (isActive ? 200 : 'token_invalid')));
      expect((await caller.send()).status).toBe(isActive ? 200 : 401);
      expect(stage.service.counts.introspect - asked).toBe(1);
    }
  });

  test('of each token for itself', async () => {
    const asked = stage.service.counts.introspect;
    const [one, two, other] = [await fresh(true), await fresh(true), await fresh(false)];
    for (const caller of [one, two, one, two]) await expectPasses(stage, 'active', () => caller.send());
    expect((await other.send()).code).toBe('token_invalid');
    expect(stage.service.counts.introspect - asked).toBe(3);
  });

  test.for([
    ['another subject', { sub: 'mallory' }],
    ['an end that is over', { exp: 1 }],
    ['an end that is none', { exp: 'never' }],
    ['another issuer', { iss: 'https://other.example.org' }],
    ['another key', { cnf: { jkt: 'zzz' } }],
    ['a certificate that it is bound to', { cnf: { 'x5t#S256': 'zzz' } }],
  ] as const)('what is said of %s is not said of this token', async ([what, introspected]) => {
    const caller = await fresh(true);
    stage.service.introspected = introspected;
    await expectEachRefused(stage, [{ what, code: 'token_invalid', send: () => caller.send() }]);
    stage.service.introspected = {};
  });
});
