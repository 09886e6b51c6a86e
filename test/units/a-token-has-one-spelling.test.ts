import { expect, test } from 'vitest';
import { normalTyp, readAudience, readStrictCompact, readStrictJws } from '../../proxy/trust/strict-jws.ts';
import { parseStrictJson } from '../../proxy/trust/strict-json.ts';

const encode = (text: string | Buffer): string => Buffer.from(text).toString('base64url');
const jws = (header: string | object, payload: string | object, signature = 'c2lnbmF0dXJl'): string =>
  [header, payload].map((part) => encode(typeof part === 'string' ? part : JSON.stringify(part))).join('.') +
  `.${signature}`;
const good = { alg: 'ES256', kid: 'k1', typ: 'application/AT+jwt' };

test('a well-formed token is read', () => {
  const read = readStrictJws(jws(good, { sub: 'alice' }));
  expect(read.header).toEqual({ alg: 'ES256', kid: 'k1', typ: 'at+jwt', ignored: [] });
  expect(read.payload).toEqual({ sub: 'alice' });
});

const token = jws(good, { sub: 'alice' });
test.for([
  ['padding', `${token}=`],
  ['a space in front', ` ${token}`],
  ['a newline at the end', `${token}\n`],
  ['a space inside', token.replace('.', ' .')],
  ['loose bits at the end', jws(good, { sub: 'alice' }, 'QR')],
  ['the other alphabet', token.replace(/.$/, '+')],
  ['two parts', token.split('.').slice(0, 2).join('.')],
  ['four parts', `${token}.x`],
  ['five parts', `${token}.x.y`],
  ['an empty signature', `${token.split('.').slice(0, 2).join('.')}.`],
  ['an empty payload', jws(good, '')],
  ['nothing', ''],
  ['JSON serialisation', JSON.stringify({ payload: 'x', signatures: [] })],
  ['more than 16 KiB', jws(good, { pad: 'x'.repeat(16_384) })],
  ['a payload that is no object', jws(good, '["a"]')],
  ['a payload that is not UTF-8', `${encode(JSON.stringify(good))}.${encode(Buffer.from([0x7b, 0xff, 0x7d]))}.c2ln`],
  ['a byte order mark', jws(good, '\uFEFF{"sub":"alice"}')],
  ['a member twice', jws(good, '{"sub":"alice","sub":"bob"}')],
  ['a member twice, once escaped', jws(good, '{"sub":"alice","\\u0073ub":"bob"}')],
  ['a member twice inside', jws(good, '{"act":{"sub":"a","sub":"b"}}')],
  ['a header member twice', jws('{"alg":"ES256","alg":"none"}', { sub: 'a' })],
  ['33 levels', jws(good, `{"a":${'['.repeat(32)}${']'.repeat(32)}}`)],
] as const)('%s is malformed', ([, text]) => {
  expect(() => readStrictJws(text)).toThrow('malformed');
});

test.for(['none', 'HS256', 'PBES2-HS256+A128KW', 'dir', 'ES256K', 'es256', '', 1, undefined])(
  'alg %s is refused',
  (alg) => {
    expect(() => readStrictCompact(jws({ ...good, alg }, { sub: 'a' }))).toThrow('alg');
  },
);

test('members that change the meaning are refused, those that carry keys are named and not used', () => {
  for (const member of [
    { crit: ['exp'] },
    { zip: 'DEF' },
    { b64: false },
    { enc: 'A128GCM' },
    { kid: 1 },
    { typ: {} },
  ]) {
    expect(() => readStrictCompact(jws({ ...good, ...member }, { sub: 'a' }))).toThrow('header');
  }
  const keys = { jku: 'https://evil.example.org', x5u: 'https://evil.example.org', x5c: ['x'], jwk: { kty: 'EC' } };
  const { header } = readStrictCompact(jws({ ...good, ...keys }, { sub: 'a' }));
  expect(header.ignored).toEqual(['jku', 'x5u', 'x5c', 'jwk']);
  expect(JSON.stringify(header)).not.toContain('evil');
});

test('JSON is read strictly, and strings that look like structure are not', () => {
  expect(parseStrictJson('{"a":"{\\"a\\":1,\\"a\\":2}","b":["a","a"],"c":{"a":1},"\\\\":1}')).toHaveProperty('c.a', 1);
  expect(parseStrictJson('{"a":[{"x":1},{"x":2}],"x":3}')).toHaveProperty('x', 3);
  expect(parseStrictJson(`{"a":${'['.repeat(31)}${']'.repeat(31)}}`)).toHaveProperty('a');
  for (const text of ['{"a":1,"b":2,"a":3}', '{"a":{"b":1},"a":{"b":1}}', '[{"a":1}]', '1', 'null', '{']) {
    expect(() => parseStrictJson(text)).toThrow('JSON');
  }
  const secret = 'eyJhbGciOiJub25lIn0';
  expect(() => parseStrictJson(`{"access_token": ${secret}}`)).toThrow(/^JSON does not parse$/);
});

test('typ is compared without case and prefix, an audience is a text or a list of texts', () => {
  expect(['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/AT+JWT'].map(normalTyp)).toEqual(
    Array(4).fill('at+jwt'),
  );
  expect([readAudience('a'), readAudience(['a', 'b'])]).toEqual([['a'], ['a', 'b']]);
  for (const aud of [undefined, null, 1, [], ['a', 1], {}]) expect(() => readAudience(aud)).toThrow('audience');
});
