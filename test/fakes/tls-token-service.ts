import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { TLSSocket } from 'node:tls';
import { SignJWT, type JWTPayload } from 'jose';
import { honestClaims, makeSigner, send, type Signer } from './token-service-parts.ts';

/** One form that was posted, and the client certificate of its connection. */
export interface SeenPost {
  readonly path: string;
  readonly form: URLSearchParams;
  /** `x5t#S256` of a certificate of the authority that the service trusts. */
  readonly x5t: string | undefined;
}

export interface TlsTokenServiceOptions {
  /** Its own certificate, and the authorities of client certificates (PEM). */
  readonly tls: { readonly cert: string; readonly key: string; readonly clientCa: readonly string[] };
  /** Closes connections without a certificate, documents included. */
  readonly demand?: boolean;
  readonly metadata?: (metadata: Record<string, unknown>) => Record<string, unknown>;
  /** `cnf` of tokens for a client with this certificate; by default they are bound to it. */
  readonly bind?: (x5t: string) => Record<string, unknown> | undefined;
  /** Milliseconds that the token endpoint takes. */
  readonly delayMs?: number;
  /** Issues texts that only it can read. */
  readonly opaque?: boolean;
}

/** A token service over TLS on loopback that asks for client certificates, and binds tokens to them (RFC 8705). */
export interface TlsTokenService {
  readonly issuer: string;
  readonly posts: SeenPost[];
  /** Paths of documents that were fetched. */
  readonly documents: string[];
  readonly issued: string[];
  readonly revoked: string[];
  /** Connections so far. */
  connections(): number;
  subjectToken(claims?: Record<string, unknown>): Promise<string>;
  close(): Promise<void>;
}

/** Starts one on a free port. Its endpoints are also below `/mtls`. */
export async function openTlsTokenService(options: TlsTokenServiceOptions): Promise<TlsTokenService> {
  const service = new Fake(options, await makeSigner());
  await service.listen();
  return service;
}

class Fake implements TlsTokenService {
  issuer = '';
  readonly posts: SeenPost[] = [];
  readonly documents: string[] = [];
  readonly issued: string[] = [];
  readonly revoked: string[] = [];
  readonly #options: TlsTokenServiceOptions;
  readonly #signer: Signer;
  readonly #server: Server;
  readonly #claims = new Map<string, JWTPayload>();
  #connections = 0;

  constructor(options: TlsTokenServiceOptions, signer: Signer) {
    this.#options = options;
    this.#signer = signer;
    const { cert, key, clientCa } = options.tls;
    const rejectUnauthorized = options.demand === true;
    this.#server = createServer(
      { cert, key, ca: [...clientCa], requestCert: true, rejectUnauthorized },
      (request, response) => {
        this.#answer(request, response).catch(() => response.destroy());
      },
    );
    this.#server.on('secureConnection', () => (this.#connections += 1));
  }

  async listen(): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    this.issuer = `https://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  connections(): number {
    return this.#connections;
  }

  subjectToken(claims: Record<string, unknown> = {}): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const jti = `${now}-${this.#claims.size}-${Math.random()}`;
    return this.#sign({ iss: this.issuer, sub: 'alice', aud: 'invoice-bot', iat: now, exp: now + 600, jti, ...claims });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url: path = '', method } = request;
    if (method === 'GET') {
      this.documents.push(path);
      if (path === '/jwks') return send(response, 200, { keys: [this.#signer.jwk] });
      const isMine = path === '/.well-known/oauth-authorization-server';
      return isMine ? send(response, 200, this.#metadata()) : send(response, 404, {});
    }
    const form = new URLSearchParams(await text(request));
    const x5t = thumbprintOf(request);
    this.posts.push({ path, form, x5t });
    const token = form.get('token') ?? '';
    switch (path.replace(/^\/mtls/, '')) {
      case '/token':
        return this.#issue(form, x5t, response);
      case '/introspect':
        return send(response, 200, { active: !this.revoked.includes(token), ...this.#claims.get(token) });
      case '/revoke':
        this.revoked.push(token);
        return send(response, 200, {});
      default:
        return send(response, 404, {});
    }
  }

  #metadata(): Record<string, unknown> {
    const { issuer } = this;
    const metadata = {
      issuer,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/jwks`,
      revocation_endpoint: `${issuer}/revoke`,
      introspection_endpoint: `${issuer}/introspect`,
    };
    return this.#options.metadata?.(metadata) ?? metadata;
  }

  async #issue(form: URLSearchParams, x5t: string | undefined, response: ServerResponse): Promise<void> {
    const { bind = (thumbprint) => ({ 'x5t#S256': thumbprint }), delayMs = 0, opaque = false } = this.#options;
    if (delayMs > 0) await new Promise((done) => setTimeout(done, delayMs));
    const cnf = x5t === undefined ? undefined : bind(x5t);
    const claims = { ...honestClaims(form, this.issuer, 300, undefined), ...(cnf === undefined ? {} : { cnf }) };
    const signed = await this.#sign(claims);
    const token = opaque ? createHash('sha256').update(signed).digest('base64url') : signed;
    this.issued.push(token);
    this.#claims.set(token, claims);
    send(response, 200, {
      access_token: token,
      token_type: 'Bearer',
      expires_in: 300,
      ...(form.has('subject_token') ? { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' } : {}),
      ...(form.has('scope') ? { scope: form.get('scope') } : {}),
    });
  }

  #sign(claims: JWTPayload): Promise<string> {
    const header = { alg: 'ES256', kid: this.#signer.jwk.kid ?? '', typ: 'at+jwt' };
    return new SignJWT(claims).setProtectedHeader(header).sign(this.#signer.privateKey);
  }
}

function thumbprintOf({ socket }: IncomingMessage): string | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const certificate = socket.getPeerX509Certificate();
  return certificate && createHash('sha256').update(certificate.raw).digest('base64url');
}
