import { afterEach, beforeEach, expect, test } from 'vitest';
import { IssuerMetadata } from '../../proxy/trust/issuer-metadata.ts';
import { Issuers, type TrustedIssuer } from '../../proxy/trust/issuers.ts';
import { JwksCache } from '../../proxy/trust/jwks.ts';
import { callEndpoint, type ShiftedWorld, shiftedWorld } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;
let stranger: FakeTokenService;
let world: ShiftedWorld;

beforeEach(async () => {
  [service, stranger] = await Promise.all([openFakeTokenService(), openFakeTokenService()]);
  world = shiftedWorld();
});
afterEach(() => Promise.all([service.close(), stranger.close()]));

function trusting(entry: Partial<TrustedIssuer> = {}): Issuers {
  const issuers = [{ issuer: service.issuer, audience: ['invoice-bot', 'bot'], typ: ['at+jwt'], ...entry }];
  return new Issuers({
    issuers,
    world,
    keys: new JwksCache(world, callEndpoint),
    metadata: new IssuerMetadata(world, callEndpoint),
  });
}

const now = Math.floor(Date.now() / 1000);

test('a good token says who its subject is', async () => {
  const act = { sub: 'spiffe://example.org/planner', iss: 'https://sso.example.org' };
  const cnf = { jkt: 'x' };
  const text = await service.subjectToken({ act, cnf, jti: 'j1', scope: 'a b', iat: now - 5, exp: now + 100 });
  expect(await trusting().verifySubject(text)).toEqual({
    iss: service.issuer,
    sub: 'alice',
    jti: 'j1',
    issuedAtMs: (now - 5) * 1000,
    expiresAtMs: (now + 100) * 1000,
    act,
    cnf,
    scope: 'a b',
  });
  const least = await service.subjectToken({ jti: undefined, iat: undefined, aud: ['other', 'bot'], exp: now + 50 });
  expect(Object.keys(await trusting().verifySubject(least)).toSorted()).toEqual(['expiresAtMs', 'iss', 'sub']);
});

const bad: readonly [what: string, claims: Record<string, unknown>, reason: string][] = [
  ['of a stranger', { iss: 'https://evil.example.org' }, 'issuer'],
  ['without issuer', { iss: undefined }, 'issuer'],
  ['for somebody else', { aud: 'mail' }, 'audience'],
  ['for our name in another case', { aud: 'Invoice-Bot' }, 'audience'],
  ['for nobody', { aud: undefined }, 'audience'],
  ['without subject', { sub: undefined }, 'subject'],
  ['with an empty subject', { sub: '' }, 'subject'],
  ['that is over', { exp: now - 1 }, 'expired'],
  ['without end', { exp: undefined }, 'expired'],
  ['with an end that is no number', { exp: `${now + 100}` }, 'expired'],
  ['that begins later', { nbf: now + 60 }, 'not_yet_valid'],
  ['from the future', { iat: now + 60 }, 'not_yet_valid'],
  ['with an actor that is none', { act: 'planner' }, 'actor'],
  ['with a key that is none', { cnf: 'x' }, 'malformed'],
  ['with a scope that is none', { scope: 7 }, 'malformed'],
  ['with a scope among others that is none', { scope: ['a', 7] }, 'malformed'],
  ['with a jti that is none', { jti: 7 }, 'malformed'],
];

test.for(bad)('a token %s is refused, and no key is fetched for it', async ([, claims, reason]) => {
  const text = await service.subjectToken(claims);
  await expect(trusting().verifySubject(text)).rejects.toMatchObject({ reason });
  expect(service.counts).toMatchObject({ metadata: 0, jwks: 0 });
});

test('an issuer is compared byte for byte', async () => {
  const text = await service.subjectToken({ iss: `${service.issuer}/` });
  await expect(trusting().verifySubject(text)).rejects.toMatchObject({ reason: 'issuer' });
});

test('another kind of token of the same issuer is refused', async () => {
  const issuers = trusting({ typ: ['application/AT+JWT'] });
  await issuers.verifySubject(await service.subjectToken({}, 'at+jwt'));
  for (const typ of ['JWT', 'logout+jwt', 'dpop+jwt', '']) {
    const text = await service.subjectToken({}, typ);
    await expect(issuers.verifySubject(text)).rejects.toMatchObject({ reason: 'typ' });
  }
});

test('a token without a kind is taken only where the configuration says so', async () => {
  const untyped = await service.subjectToken({}, '');
  await trusting({ typ: ['at+jwt', 'none'] }).verifySubject(untyped);
  for (const typ of [['at+jwt', 'JWT'], ['NONE']]) {
    await expect(trusting({ typ }).verifySubject(untyped)).rejects.toMatchObject({ reason: 'typ' });
  }
  const named = await service.subjectToken({}, 'none');
  await expect(trusting({ typ: ['none'] }).verifySubject(named)).rejects.toMatchObject({ reason: 'typ' });
});

test('scopes are one text in a token of RFC 9068, and in others also a list of texts', async () => {
  const issuers = trusting({ typ: ['at+jwt', 'JWT'] });
  for (const scope of ['a b', ['a', 'b']]) {
    const subject = await issuers.verifySubject(await service.subjectToken({ scope }, 'JWT'));
    expect(subject.scope).toBe('a b');
  }
  expect((await issuers.verifySubject(await service.subjectToken({ scope: 'a b' }))).scope).toBe('a b');
  const list = await service.subjectToken({ scope: ['a', 'b'] });
  await expect(issuers.verifySubject(list)).rejects.toMatchObject({ reason: 'malformed' });
});

test('without an audience of ours no token of the issuer is accepted', async () => {
  const text = await service.subjectToken();
  for (const audience of [undefined, []]) {
    await expect(trusting({ audience }).verifySubject(text)).rejects.toMatchObject({ reason: 'audience' });
  }
  await trusting({ audience: 'invoice-bot' }).verifySubject(text);
});

test('a token that somebody else signed in the name of the issuer is refused', async () => {
  const text = await stranger.subjectToken({ iss: service.issuer });
  await expect(trusting().verifySubject(text)).rejects.toMatchObject({ reason: 'key' });
  const [header, payload, signature] = (await service.subjectToken()).split('.');
  const forged = Buffer.from(Buffer.from(payload!, 'base64url').toString().replace('alice', 'admin')).toString(
    'base64url',
  );
  await expect(trusting().verifySubject(`${header}.${forged}.${signature}`)).rejects.toMatchObject({
    reason: 'signature',
  });
});

test('keys come from the configured place, else from the metadata of the issuer on its own origin', async () => {
  const text = await service.subjectToken();
  await trusting({ jwks_uri: `${service.issuer}/jwks` }).verifySubject(text);
  expect(service.counts).toMatchObject({ metadata: 0, jwks: 1 });
  const stray = await openFakeTokenService({ metadata: (m) => ({ ...m, jwks_uri: `${stranger.issuer}/jwks` }) });
  try {
    const theirs = trusting({ issuer: stray.issuer });
    await expect(theirs.verifySubject(await stray.subjectToken())).rejects.toThrow('keys unavailable');
    expect(stranger.counts.jwks).toBe(0);
  } finally {
    await stray.close();
  }
});

test('an issuer that cannot be reached is no verdict on the token', async () => {
  const text = await service.subjectToken();
  const issuers = trusting();
  await service.close();
  await expect(issuers.verifySubject(text)).rejects.toThrow(/^keys unavailable$/);
});

test('clocks may differ by half a minute at the beginning, and by nothing at the end', async () => {
  await trusting().verifySubject(await service.subjectToken({ iat: now + 25, nbf: now + 25 }));
  const text = await service.subjectToken({ exp: now + 100 });
  world.aheadMs = 100_001;
  await expect(trusting().verifySubject(text)).rejects.toMatchObject({ reason: 'expired' });
});
