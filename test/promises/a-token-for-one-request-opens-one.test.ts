import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCaller, type Caller } from '../stage/caller.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { twinSignature } from '../stage/twin-signature.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;

beforeAll(async () => {
  stage = await openWayIn({ inbound: { token: { once: true } }, sections: { replay: { future: '1s' } } });
  // A token for one use must be younger than the ledger.
  await sleep(3200);
});
afterAll(() => stage?.close());

/** A caller whose token was issued after the sidecar began to remember. */
async function fresh(claims: Record<string, unknown> = {}): Promise<Caller> {
  const caller = await openCaller(stage.to, claims);
  await caller.send({ proof: null });
  return caller;
}

test('a token is spent with its request, in either of its spellings, whatever the proof', async () => {
  const caller = await fresh();
  const twin = twinSignature(caller.token);
  const proof = caller.proofFor();
  await expectPasses(stage, 'first use', () => caller.send({ proof }));
  await expectEachRefused(stage, [
    { what: 'the same request', code: 'proof_reused', send: () => caller.send({ proof }) },
    { what: 'a fresh proof', code: 'token_spent', send: () => caller.send({}) },
    { what: 'at another path', code: 'token_spent', send: () => caller.send({ path: '/other' }) },
    { what: 'with its other signature', code: 'token_spent', send: () => caller.send({ token: twin }) },
  ]);
  const next = await fresh();
  await expectPasses(stage, 'another token', () => next.send());
});

test('of racing requests with one token one passes', async () => {
  const caller = await fresh();
  const seen = stage.program.seen.length;
  const answers = await Promise.all(Array.from({ length: 20 }, () => caller.send()));
  expect(answers.map(({ status, code }) => code ?? String(status)).toSorted()).toEqual([
    '200',
    ...Array.from({ length: 19 }, () => 'token_spent'),
  ]);
  expect(stage.program.seen.length - seen).toBe(1);
});

test('what is refused for another reason has spent nothing', async () => {
  const caller = await fresh();
  await expectEachRefused(stage, [
    { what: 'no nonce', code: 'nonce_required', send: () => caller.send({ nonce: undefined }) },
    { what: 'another path', code: 'proof_wrong_target', send: () => caller.send({ path: '/x', htu: stage.origin }) },
  ]);
  await expectPasses(stage, 'honest', () => caller.send());
});

test('a token without an id or a date, or from before the start, could have been used: it is refused', async () => {
  const [nameless, old] = [await fresh({ jti: undefined }), await fresh({ iat: Math.floor(Date.now() / 1000) - 60 })];
  const undated = await fresh({ iat: undefined });
  await expectEachRefused(stage, [
    { what: 'no iat', code: 'token_invalid', send: () => undated.send() },
    { what: 'no jti', code: 'token_invalid', send: () => nameless.send() },
    { what: 'from before', code: 'ledger_warming', send: () => old.send() },
  ]);
  expect((await old.send()).body).toContain('Get a new token');
});

test('W6: nor does one pass twice that its issuer dated ahead, across a kill between the two uses', async () => {
  const iat = Math.floor(Date.now() / 1000) + 20;
  const ahead = await openCaller(stage.to, { iat });
  ahead.nonce = (await stage.caller()).nonce;
  const before = (await ahead.send()).status;
  await stage.sidecar.kill();
  await stage.restart();
  const after = await openCaller(stage.to);
  await after.send({ proof: null });
  const { status } = await ahead.send({ nonce: after.nonce });
  expect([before, status].filter((one) => one === 200).length).toBeLessThan(2);
  await expectEachRefused(stage, [
    { what: 'dated ahead', code: 'token_invalid', send: () => ahead.send({ nonce: after.nonce }) },
  ]);
});
