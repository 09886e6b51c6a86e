import { createHmac } from 'node:crypto';
import type { SigningKey } from './signing-key.ts';
import { encode, signJws } from './signing-key.ts';
import { caep, type SignalTransmitter } from '../fakes/signal-transmitter.ts';

/** A security event token that must do nothing, and the code that its sender is told. */
export interface SignalAttack {
  readonly what: string;
  readonly token: string;
  readonly err: string;
}

const type = `${caep}session-revoked`;

/** Tokens that the transmitter did not sign, about somebody whom a good one would revoke. */
export function forgedSignals(transmitter: SignalTransmitter, subject: object): SignalAttack[] {
  const { key, foreignKey } = transmitter;
  const claims = transmitter.claims(type, subject);
  const good = transmitter.token(claims);
  const [head = '', body = '', signature = ''] = good.split('.');
  const otherBody = encode(transmitter.claims(type, subject));
  const base = { kid: key.kid, typ: 'secevent+jwt' };
  const hmac = (secret: string): string => {
    const input = `${encode({ ...base, alg: 'HS256' })}.${body}`;
    return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
  };
  const pem = key.privateKey.export({ format: 'jwk' });
  const by = (signer: SigningKey, header: object): string =>
    signJws({ ...base, alg: signer.alg, ...header }, claims, signer);
  const rows: Readonly<Record<string, string>> = {
    'signed by another key under the name of the right one': by(foreignKey, {}),
    'signed by a key that it brings along': by(foreignKey, { jwk: foreignKey.jwk }),
    'signed by a key that it brings along, without a name': by(foreignKey, { kid: undefined, jwk: foreignKey.jwk }),
    'with an address of keys': by(foreignKey, { jku: 'http://127.0.0.1:1/jwks', kid: 'other' }),
    'without the name of a key': by(key, { kid: undefined }),
    'with the name of an unknown key': by(key, { kid: 'other' }),
    'alg none, signed': `${encode({ ...base, alg: 'none' })}.${body}.${signature}`,
    'HS256 with the public key': hmac(JSON.stringify(key.jwk)),
    'HS256 with its x': hmac(String(pem.x)),
    'of another algorithm than its key': `${encode({ ...base, alg: 'ES384' })}.${body}.${signature}`,
    'with the signature of another event': `${head}.${otherBody}.${signature}`,
    'with a signature of zeros': `${head}.${body}.${Buffer.alloc(64).toString('base64url')}`,
    'with half a signature': `${head}.${body}.${signature.slice(0, 42)}A`,
  };
  return Object.entries(rows).map(([what, token]) => ({ what, token, err: 'invalid_key' }));
}

/** Tokens that the transmitter did sign, and that are no event for here and now. */
export function unfitSignals(
  transmitter: SignalTransmitter,
  subject: Readonly<Record<string, unknown>>,
): SignalAttack[] {
  const now = Math.floor(Date.now() / 1000);
  const make = (changes: Readonly<Record<string, unknown>>, header = {}): string =>
    transmitter.token(transmitter.claims(type, subject, changes), header);
  const about = (sub_id: unknown): string => make({ sub_id });
  const foreign = { ...subject, iss: 'https://other.example.org' };
  const text = JSON.stringify(transmitter.claims(type, subject));
  const raw = (payload: string): string =>
    signJws({ alg: 'ES256', kid: transmitter.key.kid, typ: 'secevent+jwt' }, { raw: payload }, transmitter.key);
  const rows: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    invalid_issuer: {
      'of an issuer that is not listed': make({ iss: 'https://other.example.org' }),
      'without issuer': make({ iss: undefined }),
      'of several issuers': make({ iss: [transmitter.issuer] }),
      'of the issuer with a slash': make({ iss: `${transmitter.issuer}/` }),
    },
    invalid_audience: {
      'for somebody else': make({ aud: 'https://other.example.org' }),
      'for several others': make({ aud: ['https://other.example.org', 'https://invoice-bot.example.org'] }),
      'for nobody': make({ aud: undefined }),
      'for an empty list': make({ aud: [] }),
      'for a number': make({ aud: [1] }),
    },
    access_denied: {
      'about a user of another issuer': about(foreign),
      'about a session of a user of another issuer': about({ format: 'complex', user: foreign, session: subject }),
      'about names of other issuers only': about({ format: 'aliases', identifiers: [foreign, foreign] }),
      'about a token of another issuer': about({ format: 'jwt_id', iss: 'https://other.example.org', jti: 'x' }),
      'about a user of ours, spelled otherwise': about({ ...subject, iss: `${String(subject['iss'])}/` }),
    },
    invalid_request: {
      'an access token': make({}, { typ: 'at+jwt' }),
      'a logout token': make({}, { typ: 'logout+jwt' }),
      'any JWT': make({}, { typ: 'JWT' }),
      'of no kind': make({}, { typ: undefined }),
      'of yesterday': make({ iat: now - 86_500 }),
      'of tomorrow': make({ iat: now + 90 }),
      'of no time': make({ iat: undefined }),
      'of a time that is text': make({ iat: String(now) }),
      'without name': make({ jti: undefined }),
      'with an empty name': make({ jti: '' }),
      'with half a letter as name': make({ jti: '\ud83d' }),
      'with a subject as access tokens have it': make({ sub: 'alice' }),
      'with an end': make({ exp: now + 600 }),
      'with two events': make({ events: { [type]: {}, [`${caep}credential-change`]: {} } }),
      'with no event': make({ events: {} }),
      'with events in a list': make({ events: [type] }),
      'with an event that is text': make({ events: { [type]: 'now' } }),
      'with a time of the event that is text': make({ events: { [type]: { event_timestamp: String(now) } } }),
      'with its subject in the event': make({ sub_id: undefined, events: { [type]: { subject } } }),
      'about nobody': about(null),
      'about a user without a name': about({ ...subject, sub: '' }),
      'about a user with an endless name': about({ ...subject, sub: 'a'.repeat(5000) }),
      'about a user whose name is half a letter': about({ ...subject, sub: 'alice\ud83d' }),
      'about no names': about({ format: 'aliases', identifiers: [] }),
      'about too many names': about({ format: 'aliases', identifiers: Array.from({ length: 33 }, () => subject) }),
      'with a member twice': raw(text.replace('{', `{"iat":${now},`)),
      'with a header that must be understood': make({}, { crit: ['exp'] }),
      'in another spelling': `${make({})}=`,
      'with a line end': `${make({})}\n`,
      'twice in one body': `${make({})} ${make({})}`,
      'without signature': `${make({}).split('.').slice(0, 2).join('.')}.`,
      'that is no token': '{}',
      'that is empty': '',
    },
  };
  return Object.entries(rows).flatMap(([err, tokens]) =>
    Object.entries(tokens).map(([what, token]) => ({ what, token, err })),
  );
}
