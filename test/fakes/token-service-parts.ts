import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import {
  calculateJwkThumbprint,
  decodeJwt,
  EmbeddedJWK,
  exportJWK,
  generateKeyPair,
  jwtVerify,
  CompactSign,
} from 'jose';
import type { CryptoKey, JWK, JWTPayload } from 'jose';
import type { Lie, lyingAnswer } from './token-service-lies.ts';

export interface Signer {
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

/** A new signing key and its public JWK. */
export async function makeSigner(): Promise<Signer> {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const jwk = { ...(await exportJWK(publicKey)), kid: randomBytes(4).toString('hex'), use: 'sig', alg: 'ES256' };
  return { privateKey, jwk };
}

/** Claims of the token that an honest service issues for this request. */
export function honestClaims(
  form: URLSearchParams,
  issuer: string,
  lifeSeconds: number,
  jkt: string | undefined,
  clientSubject = 'service-account-invoice-bot',
): JWTPayload {
  const now = Math.floor(Date.now() / 1000);
  const subject = form.get('subject_token');
  const from = subject === null ? {} : decodeJwt(subject);
  const actor = form.get('actor_token');
  const audience = [...form.getAll('audience'), ...form.getAll('resource')];
  const inbound = from['act'] === undefined ? {} : { act: from['act'] };
  return {
    iss: issuer,
    sub: from.sub ?? clientSubject,
    aud: audience.length === 1 ? audience[0]! : audience,
    iat: now,
    exp: now + lifeSeconds,
    jti: randomBytes(8).toString('hex'),
    // For which task a token was issued: each is opened with a subject token of its own.
    ...(from.jti === undefined ? {} : { subject_jti: from.jti }),
    ...(form.has('scope') ? { scope: form.get('scope') } : {}),
    ...(actor === null ? {} : { act: { sub: decodeJwt(actor).sub, ...inbound } }),
    ...(jkt === undefined ? {} : { cnf: { jkt } }),
  };
}

/** Verifies a proof made for the token endpoint. Rejects for any that is not good; undefined without one. */
export async function readProof(header: string | string[] | undefined, htu: string) {
  if (typeof header !== 'string') return undefined;
  const { payload, protectedHeader } = await jwtVerify(header, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] });
  if (payload['htm'] !== 'POST' || payload['htu'] !== htu || 'ath' in payload) throw new Error('a wrong proof');
  return { claims: payload, jkt: await calculateJwkThumbprint(protectedHeader.jwk!) };
}

/** Lies about the connection; false where the lie is another. */
export function lieOnTheWire(lie: Lie | undefined, response: ServerResponse): boolean {
  switch (lie) {
    case 'slow':
      return true;
    case 'reset':
      response.socket?.resetAndDestroy();
      return true;
    case 'half':
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
      response.write('{"access_token":"', () => response.destroy());
      return true;
    case 'trickle': {
      response.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => response.write(' '), 50);
      response.on('close', () => clearInterval(timer));
      return true;
    }
    default:
      return false;
  }
}

/** Answers with a canned lie. */
export function lieWith(
  lie: NonNullable<ReturnType<typeof lyingAnswer>>,
  form: URLSearchParams,
  response: ServerResponse,
): void {
  // Descriptions that quote what was sent: nothing of this may come out on our side.
  const quoted = `you sent ${form.get('subject_token')} and ${form.get('client_secret')}`;
  const { error, description = quoted } = lie;
  const body = lie.body ?? JSON.stringify({ error, error_description: description, error_uri: quoted });
  response.writeHead(lie.status, {
    'content-type': lie.type ?? 'application/json',
    ...(lie.retryAfter === undefined ? {} : { 'retry-after': lie.retryAfter }),
    ...(lie.status === 307 ? { location: '/elsewhere' } : {}),
    ...(lie.status === 401 ? { 'www-authenticate': 'Basic realm="tokens"' } : {}),
  });
  response.end(body);
}

export function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}

/** Signs claims as a token of this kind, by the signer's own key unless told otherwise. */
export function signWith(
  signer: Signer,
  claims: JWTPayload,
  typ: string | undefined,
  key?: CryptoKey,
): Promise<string> {
  const header = { alg: 'ES256', kid: signer.jwk.kid ?? '', ...(typ === undefined ? {} : { typ }) };
  // Their text as it stands: a copy of the claims would lose how numbers are written.
  const payload = Buffer.from(JSON.stringify(claims));
  return new CompactSign(payload).setProtectedHeader(header).sign(key ?? signer.privateKey);
}
