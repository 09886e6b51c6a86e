import { afterAll, beforeAll, expect, test } from 'vitest';
import { readRecord } from '../stage/event-record.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import type { Caller } from '../stage/caller.ts';
import { tlsCaller } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const planner = 'spiffe://example.org/planner';
let stage: WayInStage;
let caller: Caller;

beforeAll(async () => {
  stage = await openWayIn({
    authority: await openDomain(),
    origin: 'https://agent.example.org',
    typ: ['at+jwt', 'JWT'],
    inbound: (issuer) => ({
      accept: [
        { issuer, proof: 'dpop' },
        { trust_domain: 'example.org', proof: 'mtls' },
      ],
    }),
  });
  caller = await tlsCaller(stage, undefined);
  // Which nonce counts, it is told by the first refusal.
  await caller.send({ token: await stage.to.mint({ cnf: { jkt: caller.key.jkt } }), proof: null });
});
afterAll(() => stage?.close());

test('a workload may be the subject of an access token, of whatever typ', async () => {
  const claims = { aud: stage.origin, sub: planner, cnf: { jkt: caller.key.jkt } };
  for (const typ of ['at+jwt', 'JWT']) {
    const token = await stage.service.subjectToken(claims, typ);
    await expectPasses(stage, `typ ${typ}`, () => caller.send({ token }));
  }
  const admitted = readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'call.admitted');
  const subject = { iss: stage.service.issuer, sub: planner };
  expect(admitted.map((event) => event['subject'])).toEqual([subject, subject]);
});

test('what a stranger writes down is no replay of a real token, whatever kind it says it is', async () => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const forge = (typ: string | undefined, claims: object) =>
    `${part({ alg: 'ES256', kid: 'x', typ })}.${part(claims)}.${Buffer.alloc(64).toString('base64url')}`;
  const elsewhere = { aud: 'https://elsewhere.example.org', sub: planner };
  const soon = Math.floor(Date.now() / 1000) + 60;
  const texts = {
    'a JWT-SVID': forge('JWT', { ...elsewhere, exp: soon }),
    'one that is over': forge(undefined, { ...elsewhere, exp: 1 }),
    'of a trust domain that nobody knows': forge('JWT', { ...elsewhere, sub: 'spiffe://evil.org/x', exp: soon }),
    'an access token': forge('at+jwt', { ...elsewhere, iss: stage.service.issuer, exp: soon }),
    'one of a workload': forge('JWT', { ...elsewhere, iss: stage.service.issuer, exp: soon }),
  };
  await expectEachRefused(
    stage,
    Object.entries(texts).flatMap(([what, token]) => [
      { what, code: 'token_invalid', send: () => caller.send({ token, scheme: 'Bearer', proof: null }) },
      { what: `${what}, as DPoP`, code: 'token_invalid', send: () => caller.send({ token }) },
    ]),
  );
});
