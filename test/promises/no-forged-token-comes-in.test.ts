import { afterAll, beforeAll, expect, test } from 'vitest';
import { accessTokenAlgs, type KeyIssuer, openKeyIssuer } from '../fakes/key-issuer.ts';
import { type AttackToken, claimAttacks, headerAttacks, signatureAttacks } from '../stage/attack-tokens.ts';
import type { Caller } from '../stage/caller.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { makeKey } from '../stage/signing-key.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const origin = 'http://agent.localhost';
let issuer: KeyIssuer;
/** An issuer that may open tasks and whose tokens are not taken on the way in. */
let unlisted: KeyIssuer;
let stage: WayInStage;
let caller: Caller;

beforeAll(async () => {
  issuer = await openKeyIssuer(origin);
  unlisted = await openKeyIssuer(origin);
  const trusted = [issuer, unlisted].map((one) => ({ issuer: one.issuer, audience: 'agent' }));
  stage = await openWayIn({
    inbound: { accept: [{ issuer: issuer.issuer, proof: 'dpop' }] },
    sections: { trust: { issuers: trusted } },
  });
  caller = await stage.caller();
});
afterAll(async () => {
  await stage?.close();
  await issuer?.close();
  await unlisted?.close();
});

const bound = (changes: Record<string, unknown> = {}) => issuer.claims({ cnf: { jkt: caller.key.jkt }, ...changes });
const attacks = (code: string, tokens: readonly AttackToken[]): Attack[] =>
  tokens.map(({ what, token }) => ({ what, code, send: () => caller.send({ path: '/x', token }) }));

test('attack tokens: the header decides neither algorithm nor key nor kind', async () => {
  const tokens = await headerAttacks({ issuer, jkt: caller.key.jkt });
  expect(tokens.length).toBeGreaterThan(60);
  await expectEachRefused(stage, attacks('token_invalid', tokens));
  // Nothing that a token names was asked for, and an unknown key at most once in ten seconds.
  expect(issuer.fetches.other).toEqual([]);
  expect(issuer.fetches.keys).toBeLessThanOrEqual(4);
});

test('attack tokens: what an issuer signed counts only as an access token for here, now, bound to a key', async () => {
  const tokens = claimAttacks({ issuer, jkt: caller.key.jkt });
  expect(tokens.length).toBeGreaterThan(40);
  await expectEachRefused(stage, attacks('token_invalid', tokens));
});

test('attack tokens: no signature but the one that the key made', async () => {
  await expectEachRefused(stage, attacks('token_invalid', signatureAttacks({ issuer, jkt: caller.key.jkt })));
});

test('attack tokens: of an issuer that is trusted for something else, or under the name of another one', async () => {
  const { jkt } = caller.key;
  await expectEachRefused(
    stage,
    attacks('token_invalid', [
      { what: 'not listed in accept', token: unlisted.token(unlisted.claims({ cnf: { jkt } })) },
      {
        what: 'not listed in accept, and for another resource',
        token: unlisted.token(unlisted.claims({ aud: 'agent', cnf: { jkt } })),
      },
      { what: 'signed by another issuer', token: unlisted.token(bound()) },
      {
        what: 'with the kid of the right one',
        token: unlisted.token(bound(), { kid: issuer.keys['ES256']!.kid }),
      },
    ]),
  );
  // Nobody is asked for keys that could let nobody in.
  expect(unlisted.fetches.keys).toBe(0);
});

test('attack tokens: for another resource, in any spelling but its own', async () => {
  const audiences = {
    'another resource': 'http://other.localhost',
    'a list of others': ['http://other.localhost', 'agent'],
    none: undefined,
    'no resource at all': [],
    'a slash behind it': `${origin}/`,
    'upper case': origin.toUpperCase(),
    'a port': `${origin}:80`,
    'a part of it': origin.slice(0, -1),
    'more than it': `${origin}.evil.org`,
    'the name of the agent': 'agent',
    'a number': 80,
    'a list with a number': [origin, 80],
    'an object': { [origin]: true },
  };
  const tokens = Object.entries(audiences).map(([what, aud]) => ({ what, token: issuer.token(bound({ aud })) }));
  await expectEachRefused(stage, attacks('token_wrong_audience', tokens));
});

test('attack tokens: what is no compact JWS is no token', async () => {
  const good = issuer.token(bound());
  const [header = '', payload = '', signature = ''] = good.split('.');
  const jwe = `${header}..${payload}.${signature}.${signature}`;
  const refused = (what: string, token: string, scheme?: string): Attack => ({
    what,
    code: 'token_invalid',
    send: () => caller.send({ token, ...(scheme === undefined ? {} : { scheme }) }),
  });
  await expectEachRefused(stage, [
    refused('flattened JSON', JSON.stringify({ protected: header, payload, signature })),
    refused('general JSON', JSON.stringify({ payload, signatures: [{ protected: header, signature }] })),
    refused(
      'JSON, encoded',
      Buffer.from(JSON.stringify({ protected: header, payload, signature })).toString('base64url'),
    ),
    refused('five parts', jwe),
    refused('four parts', `${good}.`),
    refused('two parts', `${header}.${payload}`),
    refused('a dot', '.'),
    refused('two dots', '..'),
    refused('no payload', `${header}..${signature}`),
    refused('empty', ''),
    refused('opaque', 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU'),
    refused('a handle', `wbh_${'A'.repeat(51)}`),
    refused('the scheme alone', '', 'DPoP'),
    refused('two tokens', `${good}, ${good}`),
    refused('two schemes', good, 'Bearer DPoP'),
    refused('as Bearer', good, 'Bearer'),
    refused('as Basic', Buffer.from(`alice:${good}`).toString('base64'), 'Basic'),
    refused('a proof as token', caller.proofFor()),
    refused('percent-encoded', encodeURIComponent(`${good}=`)),
  ]);
});

test('what the program was given is no token here', async () => {
  await caller.send({ token: issuer.token(bound()) });
  const [, given = ''] = String(stage.program.seen.at(-1)?.headers.authorization).split(' ');
  expect(given).toMatch(/^eyJ/);
  await expectEachRefused(stage, [
    { what: 'as DPoP', code: 'token_invalid', send: () => caller.send({ token: given }) },
    { what: 'as Bearer', code: 'token_invalid', send: () => caller.send({ token: given, scheme: 'Bearer' }) },
  ]);
});

test.for(accessTokenAlgs)('every good one accepted: a token signed with %s', async (alg) => {
  await expectPasses(stage, alg, () => caller.send({ token: issuer.token(bound(), { alg }) }));
});

test('every good one accepted: other claims, other cases, and keys that it names and nobody asks for', async () => {
  const { jwk } = await makeKey();
  const tokens = {
    'application/at+jwt': issuer.token(bound(), { typ: 'application/at+jwt' }),
    'AT+JWT': issuer.token(bound(), { typ: 'AT+JWT' }),
    'several audiences': issuer.token(bound({ aud: ['http://other.localhost', origin] })),
    'an actor': issuer.token(bound({ act: { sub: 'spiffe://example.org/planner', act: { sub: 'front' } } })),
    'a clock that is a little ahead': issuer.token(bound({ iat: Math.floor(Date.now() / 1000) + 20 })),
    nbf: issuer.token(bound({ nbf: Math.floor(Date.now() / 1000) - 5 })),
    'names beyond ASCII': issuer.token(bound({ sub: 'Zoë 🦊', name: '"\\{}[]:,' })),
    'claims of its own': issuer.token(
      bound({ roles: ['a', 'b'], tenant: { id: 1, __proto__: null }, x: 1.5, y: null }),
    ),
    'jku, x5u, x5c, jwk beside the right kid': issuer.token(bound(), {
      jku: `${issuer.issuer}/thief-jku`,
      x5u: `${issuer.issuer}/thief-x5u`,
      x5c: [],
      jwk,
    }),
  };
  for (const [what, token] of Object.entries(tokens)) await expectPasses(stage, what, () => caller.send({ token }));
  expect(issuer.fetches.other).toEqual([]);
});
