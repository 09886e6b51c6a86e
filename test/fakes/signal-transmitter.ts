import { randomBytes } from 'node:crypto';
import { createServer, request as send } from 'node:http';
import { request as sendTls } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { makeKey, signJws, type SigningKey } from '../stage/signing-key.ts';

/** A transmitter of security events (SSF 1.0): metadata, keys, and tokens that it signs. Pushing is up to the test. */
export interface SignalTransmitter {
  readonly issuer: string;
  /** Its key, and one that it does not publish. */
  readonly key: SigningKey & { readonly kid: string };
  readonly foreignKey: SigningKey & { readonly kid: string };
  /** Paths that were asked for. */
  readonly asked: string[];
  /** Whether its documents can be had. */
  isUp: boolean;
  /** Whether it leaves whoever asks for them waiting. */
  isSilent: boolean;
  /** Claims of an event about somebody. A member that is undefined is left out. */
  claims(type: string, subject: unknown, changes?: Readonly<Record<string, unknown>>): Record<string, unknown>;
  /** A signed token. */
  token(claims: object, header?: Readonly<Record<string, unknown>>, key?: SigningKey): string;
  /** The same in one: an event of a type about somebody, signed. */
  event(type: string, subject: unknown, changes?: Readonly<Record<string, unknown>>): string;
  close(): Promise<void>;
}

export const caep = 'https://schemas.openid.net/secevent/caep/event-type/';
export const risc = 'https://schemas.openid.net/secevent/risc/event-type/';
export const ssf = 'https://schemas.openid.net/secevent/ssf/event-type/';
/** What receivers of the tests are called in `aud`. */
export const signalAudience = 'https://invoice-bot.example.org/signals';

/** Opens one. @param path of its issuer identifier, `/realms/corp`. */
export async function openTransmitter(path = ''): Promise<SignalTransmitter> {
  const key = { ...(await makeKey()), kid: 'signals-1' };
  const foreignKey = { ...(await makeKey()), kid: key.kid };
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const { url = '' } = request;
    asked.push(url);
    if (transmitter.isSilent) return;
    const documents: Readonly<Record<string, object>> = {
      [`/.well-known/ssf-configuration${path}`]: { issuer, jwks_uri: `${issuer}/jwks`, spec_version: '1_0' },
      [`${path}/jwks`]: { keys: [{ ...key.jwk, kid: key.kid, alg: key.alg, use: 'sig' }] },
    };
    const found = transmitter.isUp ? documents[url] : undefined;
    response.writeHead(found === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(found ?? {}));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
  const transmitter: SignalTransmitter = {
    issuer,
    key,
    foreignKey,
    asked,
    isUp: true,
    isSilent: false,
    claims: (type, subject, changes) => ({
      iss: issuer,
      aud: signalAudience,
      iat: Math.floor(Date.now() / 1000),
      jti: randomBytes(9).toString('hex'),
      sub_id: subject,
      events: { [type]: {} },
      ...changes,
    }),
    token: (claims, header = {}, signer = key) =>
      signJws({ alg: signer.alg, kid: key.kid, typ: 'secevent+jwt', ...header }, claims, signer),
    event: (type, subject, changes) => transmitter.token(transmitter.claims(type, subject, changes)),
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
  return transmitter;
}

/** How a receiver answered. */
export interface PushAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
  /** Member `err` of the body, where it has one. */
  readonly err: string | undefined;
}

export interface PushOptions {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** PEM of the authority of the receiver's certificate: it is called over TLS then, by this name. */
  readonly tls?: { readonly ca: string; readonly name: string };
}

/** Delivers one body to a receiver at `address:port` (RFC 8935 2). */
export async function push(address: string, body: string, options: PushOptions = {}): Promise<PushAnswer> {
  const [host = '', port = ''] = address.split(':');
  const { method = 'POST', path = '/signals', headers, tls } = options;
  const init = {
    host,
    port: Number(port),
    method,
    path,
    headers: { 'content-type': 'application/secevent+jwt', accept: 'application/json', ...headers },
    agent: false as const,
  };
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    const sent =
      tls === undefined ? send(init, resolve) : sendTls({ ...init, ca: tls.ca, servername: tls.name }, resolve);
    sent.once('error', reject);
    sent.end(body);
  });
  const answer = await text(response);
  const err = answer === '' ? undefined : (JSON.parse(answer) as { err?: string }).err;
  return { status: response.statusCode ?? 0, headers: response.headers, body: answer, err };
}
