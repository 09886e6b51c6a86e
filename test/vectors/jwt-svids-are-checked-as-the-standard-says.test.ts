import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { CompactSign } from 'jose';
import { expect, test } from 'vitest';
import type { JwtAuthority } from '../../proxy/spiffe/bundles.ts';
import { parseJwtBundle } from '../../proxy/spiffe/bundles.ts';
import { checkJwtSvid, type JwtSvidVerdict } from '../../proxy/spiffe/jwt-svid-check.ts';
import { absent, readSpiffeVectors } from './spiffe-vectors.ts';

const vectors = readSpiffeVectors('jwt-svid-cases');
const us = 'https://tool.example.org';
const nowMs = Date.parse('2026-11-25T10:00:00Z');
const nowSeconds = nowMs / 1000;

const pairs: Readonly<Record<string, { publicKey: KeyObject; privateKey: KeyObject }>> = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ES512: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  RSA: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const foreign = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pairOf = (alg: string) => pairs[alg] ?? pairs['RSA']!;
const jwk = (kid: string, key: KeyObject) => ({ ...key.export({ format: 'jwk' }), kid, use: 'jwt-svid' });
const bundles = new Map<string, readonly JwtAuthority[]>([
  [
    'example.org',
    parseJwtBundle(JSON.stringify({ keys: Object.entries(pairs).map(([kid, { publicKey }]) => jwk(kid, publicKey)) })),
  ],
  ['other.org', parseJwtBundle(JSON.stringify({ keys: [jwk('other', foreign.publicKey)] }))],
]);

const header = { alg: 'ES256', kid: 'ES256' };
const claims = { sub: 'spiffe://example.org/agent', aud: us, exp: nowSeconds + 60, iat: nowSeconds };
const without = (object: object, name: string): object =>
  Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));

async function mint(
  head: object = header,
  body: object = claims,
  key: KeyObject = pairOf('ES256').privateKey,
): Promise<string> {
  const { alg = 'ES256', ...others } = head as { alg?: string; crit?: string[]; b64?: true };
  return new CompactSign(Buffer.from(JSON.stringify(body)))
    .setProtectedHeader({ alg, ...others })
    .sign(key, { crit: { x: true } });
}

/** For algorithms that no honest library signs with: the signature is made by hand. */
function mintByHand(head: object, signature: (input: string) => Buffer): string {
  const input = [head, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${input}.${signature(input).toString('base64url')}`;
}

const check = (text: string): JwtSvidVerdict | undefined => checkJwtSvid(text, us, (name) => bundles.get(name), nowMs);
const outcome = (text: string): string => {
  const verdict = check(text);
  return verdict?.kind === 'invalid' ? verdict.reason : (verdict?.kind ?? 'none');
};

/** A text for each case of the standard, and what is said of it; `none` leaves it to those who read other tokens. */
const made: Readonly<Record<string, () => [Promise<string> | string, string]>> = {
  'well formed, aud one value, exp future, typ absent': () => [mint(), 'valid'],
  'typ JWT': () => [mint({ ...header, typ: 'JWT' }), 'valid'],
  'typ JOSE': () => [mint({ ...header, typ: 'JOSE' }), 'valid'],
  'typ anything else (incl. wit+jwt, at+jwt)': () => [mint({ ...header, typ: 'wit+jwt' }), 'none'],
  'not a JWS / JWS JSON serialisation': () => [JSON.stringify({ payload: 'e30', signatures: [] }), 'none'],
  'alg HS256': () => [
    mintByHand({ ...header, alg: 'HS256' }, (input) =>
      createHmac('sha256', pairOf('ES256').publicKey.export({ format: 'pem', type: 'spki' }))
        .update(input)
        .digest(),
    ),
    'alg',
  ],
  'alg none': () => [mintByHand({ ...header, alg: 'none' }, () => Buffer.of(0)), 'alg'],
  'alg EdDSA (not in the JWT-SVID table)': () => [
    mintByHand({ ...header, alg: 'EdDSA' }, (input) =>
      sign(null, Buffer.from(input), generateKeyPairSync('ed25519').privateKey),
    ),
    'alg',
  ],
  'missing sub': () => [mint(header, without(claims, 'sub')), 'none'],
  'sub not a SPIFFE ID': () => [mint(header, { ...claims, sub: 'spiffe://Example.org/agent' }), 'subject'],
  'missing exp': () => [mint(header, without(claims, 'exp')), 'expired'],
  expired: () => [mint(header, { ...claims, exp: nowSeconds }), 'expired'],
  'missing aud': () => [mint(header, without(claims, 'aud')), 'audience'],
  'aud does not contain us': () => [mint(header, { ...claims, aud: [`${us}/`] }), 'audience'],
  'aud array of two incl. us (accept, warn: replayable at the other)': () => [
    mint(header, { ...claims, aud: ['https://x', us] }),
    'valid',
  ],
  'kid missing (spec: optional; go-spiffe and SPIRE reject)': () => [mint({ alg: 'ES256' }), 'kid'],
  'trust domain of sub has no bundle': () => [
    mint(header, { ...claims, sub: 'spiffe://unknown.org/agent' }),
    'no_bundle',
  ],
  'kid unknown in that bundle': () => [mint({ ...header, kid: 'ES256 ' }), 'key'],
  'kid of another trust domain bundle': () => [mint({ ...header, kid: 'other' }, claims, foreign.privateKey), 'key'],
  'signature by another key under right kid': () => [mint(header, claims, foreign.privateKey), 'signature'],
  'unregistered JOSE header present (spec: MUST NOT be included)': () => [mint({ ...header, x: 1 }), 'header'],
  'crit header': () => [mint({ ...header, crit: ['x'], x: 1 }), 'header'],
};

test('every case of the standard has its verdict', async ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  for (const { name, accept } of vectors.cases) {
    const make = made[name];
    if (make === undefined) expect.fail(`no case is made for "${name}"`);
    const [text, wanted] = make();
    const found = outcome(await text);
    expect(found, name).toBe(wanted);
    expect(found === 'valid', name).toBe(accept);
  }
});

test('every algorithm of the standard is taken, with a key of its own kind only', async ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  expect(vectors.algs).toHaveLength(9);
  for (const alg of vectors.algs) {
    const kid = alg in pairs ? alg : 'RSA';
    const text = await mint({ alg, kid }, claims, pairOf(alg).privateKey);
    expect(outcome(text), alg).toBe('valid');
    for (const other of Object.keys(pairs).filter((name) => name !== kid)) {
      expect(outcome(await mint({ alg, kid: other }, claims, pairOf(alg).privateKey)), `${alg} ${other}`).toBe(
        'signature',
      );
    }
  }
  // The owner of the key may narrow it further.
  bundles.set(
    'strict.org',
    parseJwtBundle(JSON.stringify({ keys: [{ ...jwk('k', pairOf('RS256').publicKey), alg: 'RS256' }] })),
  );
  const strict = { ...claims, sub: 'spiffe://strict.org/agent' };
  expect(outcome(await mint({ alg: 'RS256', kid: 'k' }, strict, pairOf('RS256').privateKey))).toBe('valid');
  expect(outcome(await mint({ alg: 'PS256', kid: 'k' }, strict, pairOf('RS256').privateKey))).toBe('key');
});

test('keys that are too weak, or of a curve that is not of the standard, verify nothing', () => {
  const short = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
  const keys = [jwk('short', short.publicKey), jwk('koblitz', koblitz.publicKey)];
  bundles.set('weak.org', parseJwtBundle(JSON.stringify({ keys })));
  const weak = { ...claims, sub: 'spiffe://weak.org/agent' };
  const signed = (alg: string, kid: string, key: KeyObject): string => {
    const input = [{ alg, kid }, weak].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' });
    return `${input}.${signature.toString('base64url')}`;
  };
  expect(outcome(signed('RS256', 'short', short.privateKey))).toBe('signature');
  expect(outcome(signed('ES256', 'koblitz', koblitz.privateKey))).toBe('signature');
});

test('a JWT-SVID has one spelling, and no member twice', async () => {
  const good = await mint();
  const [head = '', body = '', tail = ''] = good.split('.');
  expect(check(good)).toMatchObject({
    kind: 'valid',
    spiffeId: claims.sub,
    trustDomain: 'example.org',
    expiresAtMs: nowMs + 60_000,
  });
  const spellings = [
    `${good}=`,
    ` ${good}`,
    `${good}\n`,
    good.replace('.', ' .'),
    `${good}.`,
    `${head}.${body}`,
    `${head}.${body}.`,
    `.${body}.${tail}`,
  ];
  for (const text of [...spellings, `${head}.${body}.${tail.slice(0, -1)}${tail.endsWith('A') ? 'B' : 'A'}`]) {
    expect(outcome(text), text.slice(-20)).not.toBe('valid');
  }
  const sign64 = (payload: string): Promise<string> =>
    new CompactSign(Buffer.from(payload)).setProtectedHeader(header).sign(pairOf('ES256').privateKey);
  const json = JSON.stringify(claims);
  expect(outcome(await sign64(json))).toBe('valid');
  expect(outcome(await sign64(json.replace('{', '{ "a:\\"b":{"c":["d:e",{"f":1}]} , ')))).toBe('valid');
  for (const doubled of [
    '{"sub":"spiffe://example.org/admin",',
    '{"\\u0073ub":"spiffe://example.org/admin",',
    '{"a":{"b":1,"b":2},',
  ]) {
    expect(outcome(await sign64(json.replace('{', doubled))), doubled).toBe('none');
  }
  expect(outcome(await sign64(json.replace('{', `{"a":${'['.repeat(40)}${']'.repeat(40)},`)))).toBe('none');
  expect(outcome(await mint(header, { ...claims, pad: 'x'.repeat(16_384) }))).toBe('none');
});

test('times count as the clock of the receiver says', async () => {
  for (const [change, wanted] of [
    [{ exp: nowSeconds + 1 }, 'valid'],
    [{ exp: nowSeconds + 1.5 }, 'expired'],
    [{ exp: String(nowSeconds + 60) }, 'expired'],
    [{ nbf: nowSeconds + 30 }, 'valid'],
    [{ nbf: nowSeconds + 31 }, 'not_yet_valid'],
    [{ iat: nowSeconds + 31 }, 'not_yet_valid'],
    [{ iat: 'now' }, 'not_yet_valid'],
    [{ aud: [] }, 'audience'],
    [{ aud: [us, 1] }, 'audience'],
  ] as const) {
    expect(outcome(await mint(header, { ...claims, ...change })), JSON.stringify(change)).toBe(wanted);
  }
});
