import { createHmac, createPublicKey, randomBytes } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { CompactEncrypt, exportSPKI } from 'jose';
import type { KeyIssuer } from '../fakes/key-issuer.ts';
import { encode, makeKey, signJws } from './signing-key.ts';

/** An access token that must not be taken, with a good proof of the right key beside it. */
export interface AttackToken {
  readonly what: string;
  readonly token: string;
}

/** What an attacker starts from: a good token of his own, bound to his own key. */
interface Attacker {
  readonly issuer: KeyIssuer;
  readonly jkt: string;
}

type Rows = Record<string, string>;

/** Tokens with a wrong header: who chooses the algorithm, the key, the kind. */
export async function headerAttacks({ issuer, jkt }: Attacker): Promise<AttackToken[]> {
  const claims = issuer.claims({ cnf: { jkt } });
  const good = issuer.token(claims);
  const [, body = '', signature = ''] = good.split('.');
  const es256 = issuer.keys['ES256']!;
  const rs256 = issuer.keys['RS256']!;
  const thief = await makeKey();
  const own = signJws({ alg: 'ES256', kid: es256.kid, typ: 'at+jwt' }, claims, thief);
  const withHeader = (header: object, sign = signature): string => `${encode(header)}.${body}.${sign}`;
  const base = { alg: 'ES256', kid: es256.kid, typ: 'at+jwt' };
  const header = (more: Record<string, unknown>): string => issuer.token(claims, more);
  const byThief = (more: object): string => signJws({ ...base, ...more }, claims, thief);
  const hmac = (name: string, kid: string, secret: string | Buffer): string => {
    const input = `${encode({ alg: name, kid, typ: 'at+jwt' })}.${body}`;
    return `${input}.${createHmac(`sha${name.slice(2)}`, secret)
      .update(input)
      .digest('base64url')}`;
  };
  const pem = await exportSPKI(createPublicKey({ key: rs256.jwk, format: 'jwk' }));
  const der = createPublicKey({ key: rs256.jwk, format: 'jwk' }).export({ type: 'spki', format: 'der' });
  const rows: Rows = {
    'signed by a thief with the kid of the issuer': own,
    'alg missing': withHeader({ kid: es256.kid, typ: 'at+jwt' }),
    'alg as a number': withHeader({ ...base, alg: 256 }),
    'alg as a list': withHeader({ ...base, alg: ['ES256'] }),
    'alg in lower case': withHeader({ ...base, alg: 'es256' }),
    'alg with a space': withHeader({ ...base, alg: 'ES256 ' }),
    'alg with NUL': withHeader({ ...base, alg: 'ES256\u0000' }),
    'HS256 with the public key as PEM': hmac('HS256', rs256.kid, pem),
    'HS256 with the public key as PEM, trimmed': hmac('HS256', rs256.kid, pem.trim()),
    'HS256 with the public key as DER': hmac('HS256', rs256.kid, der),
    'HS256 with the modulus': hmac('HS256', rs256.kid, Buffer.from(rs256.jwk.n ?? '', 'base64url')),
    'HS256 with the JWK': hmac('HS256', rs256.kid, JSON.stringify(rs256.jwk)),
    'HS256 with x of an EC key': hmac('HS256', es256.kid, Buffer.from(es256.jwk.x ?? '', 'base64url')),
    'HS384 with the public key': hmac('HS384', rs256.kid, pem),
    'HS512 with the public key': hmac('HS512', rs256.kid, pem),
    'HS256 with an empty key': hmac('HS256', '', ''),
    'HS256 and a kid that is a path': hmac('HS256', '../../../../dev/null', ''),
    'RS256 with the kid of an EC key': signJws({ ...base, alg: 'RS256' }, claims, rs256),
    'ES256 with the kid of an RSA key': signJws({ ...base, kid: rs256.kid }, claims, es256),
    'PS256 by a key for RS256': signJws({ ...base, alg: 'PS256', kid: rs256.kid }, claims, { ...rs256, alg: 'PS256' }),
    'RS512 by a key for RS256': signJws({ ...base, alg: 'RS512', kid: rs256.kid }, claims, { ...rs256, alg: 'RS512' }),
    'RS1 by a key for RS256': signJws({ ...base, alg: 'RS1', kid: rs256.kid }, claims, rs256),
    'EdDSA by a key for Ed25519': signJws(
      { ...base, alg: 'EdDSA', kid: issuer.keys['Ed25519']!.kid },
      claims,
      issuer.keys['Ed25519']!,
    ),
    'kid missing': signJws({ alg: 'ES256', typ: 'at+jwt' }, claims, es256),
    'kid empty': header({ kid: '' }),
    'kid unknown': header({ kid: 'no-such-key' }),
    'kid of another key': header({ kid: issuer.keys['ES384']!.kid }),
    'kid as a number': header({ kid: 1 }),
    'kid as a list': header({ kid: [es256.kid] }),
    'kid with a NUL behind it': header({ kid: `${es256.kid}\u0000` }),
    'kid that is a URL': byThief({ kid: `${issuer.issuer}/thief-kid` }),
    'kid that is a query': byThief({ kid: `x' UNION SELECT 'key'--` }),
    'kid __proto__': byThief({ kid: '__proto__' }),
    'kid constructor': byThief({ kid: 'constructor' }),
    'jwk of the thief': byThief({ jwk: thief.jwk }),
    'jwk of the thief and no kid': signJws({ alg: 'ES256', typ: 'at+jwt', jwk: thief.jwk }, claims, thief),
    'jku of the thief': byThief({ jku: `${issuer.issuer}/thief-jku` }),
    'jku without a kid': byThief({ kid: undefined, jku: `${issuer.issuer}/thief-jku` }),
    'x5u of the thief': byThief({ x5u: `${issuer.issuer}/thief-x5u` }),
    'x5c of the thief': byThief({ x5c: [Buffer.from('certificate').toString('base64')] }),
    'crit that nobody knows': header({ crit: ['urn:example:new'], 'urn:example:new': 1 }),
    'crit of a claim': header({ crit: ['exp'] }),
    'crit empty': header({ crit: [] }),
    'b64 false with crit': header({ crit: ['b64'], b64: false }),
    'b64 false without crit': header({ b64: false }),
    'b64 true': header({ b64: true }),
    'zip, deflated': signJws({ ...base, zip: 'DEF' }, { raw: deflateRawSync(JSON.stringify(claims)) }, es256),
    'zip, not deflated': header({ zip: 'DEF' }),
    enc: header({ enc: 'A256GCM' }),
    'typ missing': header({ typ: undefined }),
    'typ JWT': header({ typ: 'JWT' }),
    'typ of a proof': header({ typ: 'dpop+jwt' }),
    'typ of a logout token': header({ typ: 'logout+jwt' }),
    'typ of a link': header({ typ: 'waybill-delegation+jwt' }),
    'typ with a parameter': header({ typ: 'at+jwt;v=1' }),
    'typ as a list': header({ typ: ['at+jwt'] }),
    'alg twice': `${encode({ raw: `{"alg":"none","alg":"ES256","kid":"${es256.kid}","typ":"at+jwt"}` })}.${body}.${signature}`,
  };
  for (const none of ['none', 'None', 'NONE', 'nOnE', '']) {
    rows[`alg "${none}", unsigned`] = withHeader({ ...base, alg: none }, '');
    rows[`alg "${none}", with a signature`] = withHeader({ ...base, alg: none });
  }
  const jwe = new CompactEncrypt(Buffer.from(good)).setProtectedHeader({
    alg: 'RSA-OAEP-256',
    enc: 'A128GCM',
    typ: 'at+jwt',
    cty: 'JWT',
  });
  rows['JWE for the issuer'] = await jwe.encrypt(createPublicKey({ key: rs256.jwk, format: 'jwk' }));
  return asList(rows);
}

/** Tokens whose claims are not those of a good one; all are signed by the issuer. */
export function claimAttacks({ issuer, jkt }: Attacker): AttackToken[] {
  const now = Math.floor(Date.now() / 1000);
  const of = (changes: Record<string, unknown>): string => issuer.token(issuer.claims({ cnf: { jkt }, ...changes }));
  const raw = (text: string | Buffer): string => issuer.token({ raw: text });
  const text = JSON.stringify(issuer.claims({ cnf: { jkt } }));
  const nested = `${'['.repeat(40)}${']'.repeat(40)}`;
  const rows: Rows = {
    expired: of({ exp: now - 1 }),
    'expired long ago': of({ exp: 1 }),
    'without exp': of({ exp: undefined }),
    'exp as a text': of({ exp: String(now + 600) }),
    'exp with a fraction': of({ exp: now + 600.5 }),
    'exp null': of({ exp: null }),
    'exp in milliseconds as a list': of({ exp: [now + 600] }),
    'exp without end': raw(text.replace(/"exp":\d+/, '"exp":1e999')),
    'exp beyond 2^53': raw(text.replace(/"exp":\d+/, '"exp":9007199254740993')),
    'nbf to come': of({ nbf: now + 120 }),
    'nbf as a text': of({ nbf: '0' }),
    'iat to come': of({ iat: now + 3600 }),
    'without iss': of({ iss: undefined }),
    'iss with a slash behind it': of({ iss: `${issuer.issuer}/` }),
    'iss in another spelling': of({ iss: issuer.issuer.replace('http:', 'HTTP:') }),
    'iss as a list': of({ iss: [issuer.issuer] }),
    'iss of somebody else': of({ iss: 'https://sso.example.org' }),
    'iss of the sidecar itself': of({ iss: 'http://waybill.local' }),
    'without sub': of({ sub: undefined }),
    'sub empty': of({ sub: '' }),
    'sub as a number': of({ sub: 7 }),
    'sub twice': raw(text.replace('{', '{"sub":"mallory",')),
    'sub twice, one escaped': raw(text.replace('{', '{"s\\u0075b":"mallory",')),
    'aud twice': raw(text.replace('{', '{"aud":"elsewhere",')),
    'cnf twice': raw(text.replace('{', `{"cnf":{"jkt":"${'A'.repeat(43)}"},`)),
    'jkt twice': raw(text.replace('"jkt"', `"jkt":"${'A'.repeat(43)}","jkt"`)),
    'without cnf': of({ cnf: undefined }),
    'cnf empty': of({ cnf: {} }),
    'cnf as a text': of({ cnf: jkt }),
    'jkt as a list': of({ cnf: { jkt: [jkt] } }),
    'bound to a certificate': of({ cnf: { 'x5t#S256': 'A'.repeat(43) } }),
    'jti as a number': of({ jti: 5 }),
    'scope as a list': of({ scope: ['a'] }),
    'act without sub': of({ act: { iss: 'x' } }),
    'act as a text': of({ act: 'spiffe://example.org/planner' }),
    'a list': raw(`[${text}]`),
    'a text': raw(JSON.stringify(text)),
    null: raw('null'),
    'no JSON': raw('alice'),
    'something behind the JSON': raw(`${text}{}`),
    'a mark of byte order': raw(`\uFEFF${text}`),
    'bytes that are no text': raw(
      Buffer.concat([Buffer.from(text.slice(0, -1)), Buffer.from(',"x":"'), Buffer.of(0xff, 0xfe), Buffer.from('"}')]),
    ),
    'nested too deep': raw(text.replace('{', `{"x":${nested},`)),
    'a token in the token': issuer.token({ raw: issuer.token(issuer.claims({ cnf: { jkt } })) }, { cty: 'JWT' }),
    'over 16 KiB': of({ filler: randomBytes(6500).toString('hex') }),
  };
  return asList(rows);
}

/** Good tokens whose signature was tampered with. */
export function signatureAttacks({ issuer, jkt }: Attacker): AttackToken[] {
  const of = (change: (signature: Buffer) => Buffer, alg = 'ES256'): string => {
    const token = issuer.token(issuer.claims({ cnf: { jkt } }), { alg });
    const end = token.lastIndexOf('.') + 1;
    return token.slice(0, end) + change(Buffer.from(token.slice(end), 'base64url')).toString('base64url');
  };
  const order = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex');
  const der = (raw: Buffer): Buffer => {
    const integer = (part: Buffer): Buffer => Buffer.concat([Buffer.of(2, 33, 0), part]);
    const both = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
    return Buffer.concat([Buffer.of(0x30, both.length), both]);
  };
  const flip = (at: number) => (raw: Buffer) => {
    raw[at] = (raw[at] ?? 0) ^ 1;
    return raw;
  };
  const [other = ''] = issuer
    .token(issuer.claims({ cnf: { jkt } }))
    .split('.')
    .slice(2);
  const rows: Rows = {
    'no signature': of(() => Buffer.alloc(0)),
    'of zeros': of((raw) => raw.fill(0)),
    'r = 0': of((raw) => raw.fill(0, 0, 32)),
    's = 0': of((raw) => raw.fill(0, 32)),
    'r and s the order of the curve': of(() => Buffer.concat([order, order])),
    'first bit': of(flip(0)),
    'last bit': of(flip(63)),
    cut: of((raw) => raw.subarray(0, 63)),
    longer: of((raw) => Buffer.concat([raw, Buffer.of(0)])),
    twice: of((raw) => Buffer.concat([raw, raw])),
    'as DER': of(der),
    'of another token': of(() => Buffer.from(other, 'base64url')),
    'RSA, of zeros': of((raw) => raw.fill(0), 'RS256'),
    'RSA, one': of((raw) => raw.fill(0).fill(1, raw.length - 1), 'RS256'),
    'RSA, cut': of((raw) => raw.subarray(1), 'PS256'),
    'Ed25519, of zeros': of((raw) => raw.fill(0), 'Ed25519'),
  };
  return asList(rows).map(({ what, token }) => ({ what: `signature ${what}`, token }));
}

function asList(rows: Rows): AttackToken[] {
  return Object.entries(rows).map(([what, token]) => ({ what, token }));
}
