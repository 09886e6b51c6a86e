import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { makeKey, signJws, type RawJson, type SigningKey } from '../stage/signing-key.ts';
import { listenOnFreePort } from '../stage/free-port.ts';

/** A key of an issuer, as its key set names it. */
export interface IssuerKey extends SigningKey {
  readonly kid: string;
}

/** An issuer of access tokens with a key for every algorithm; only metadata and keys can be had from it. */
export interface KeyIssuer {
  readonly issuer: string;
  /** By algorithm. */
  readonly keys: Readonly<Record<string, IssuerKey>>;
  /** What its key set holds; may be added to. */
  readonly published: object[];
  /** Requests for its key set, and for anything that only an attacker's token names. */
  readonly fetches: { keys: number; other: string[] };
  /** Claims of a good token. */
  claims(changes?: Readonly<Record<string, unknown>>): Record<string, unknown>;
  /** A token of these claims: signed with the key of `alg`, ES256 if not told. */
  token(claims: object | RawJson, header?: Readonly<Record<string, unknown>>): string;
  close(): Promise<void>;
}

export const accessTokenAlgs = 'RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519'.split(' ');

/** Opens one. @param audience of its tokens. */
export async function openKeyIssuer(audience: string): Promise<KeyIssuer> {
  const keys: Record<string, IssuerKey> = {};
  for (const alg of accessTokenAlgs)
    keys[alg] = { ...(await makeKey(alg)), kid: `${alg}-${randomBytes(3).toString('hex')}` };
  const published: object[] = Object.values(keys).map(({ jwk, kid, alg }) => ({ ...jwk, kid, alg, use: 'sig' }));
  const fetches = { keys: 0, other: [] as string[] };
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    if (path === '/jwks') fetches.keys += 1;
    else if (!path.startsWith('/.well-known/')) fetches.other.push(path);
    const known = path === '/jwks' || path === '/.well-known/oauth-authorization-server';
    response.writeHead(known ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(path === '/jwks' ? { keys: published } : { issuer, jwks_uri: `${issuer}/jwks` }));
  });
  const port = await listenOnFreePort(server);
  const issuer = `http://127.0.0.1:${port}`;
  return {
    issuer,
    keys,
    published,
    fetches,
    claims: (changes) => {
      const now = Math.floor(Date.now() / 1000);
      const jti = randomBytes(9).toString('hex');
      return { iss: issuer, sub: 'alice', aud: audience, iat: now, exp: now + 600, jti, client_id: 'app', ...changes };
    },
    token: (claims, header = {}) => {
      const { alg } = header;
      const key = (typeof alg === 'string' ? keys[alg] : undefined) ?? keys['ES256']!;
      return signJws({ alg: key.alg, kid: key.kid, typ: 'at+jwt', ...header }, claims, key);
    },
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
