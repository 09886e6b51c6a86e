import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import type { CryptoKey, JWTPayload } from 'jose';
import {
  honestClaims,
  lieOnTheWire,
  lieWith,
  makeSigner,
  readProof,
  send,
  type Signer,
  signWith,
} from './token-service-parts.ts';
import { claimLies, isKnownLie, type Lie, lyingAnswer, memberLies, unsigned } from './token-service-lies.ts';
import { freePort } from '../stage/free-port.ts';

/** One request to the token endpoint, as it came. */
export interface SeenRequest {
  readonly form: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  /** Claims of the DPoP proof, verified; undefined without one. */
  readonly proof: JWTPayload | undefined;
}

export interface FakeTokenServiceOptions {
  /** What it lies about; may be changed while it runs. */
  readonly lie?: Lie;
  /** Life of its tokens, seconds. */
  readonly lifeSeconds?: number;
  /** Demands a DPoP nonce, and takes a new one after each use. */
  readonly demandNonce?: boolean;
  /** Changes its metadata document. */
  readonly metadata?: (metadata: Record<string, unknown>) => Record<string, unknown>;
  /** Path of its issuer identifier, e.g. `/realms/corp`. */
  readonly path?: string;
  /** Secret that `client_secret_*` must send; without it anybody is a client. */
  readonly secret?: string;
  /** Milliseconds that the token endpoint takes. */
  readonly delayMs?: number;
  /** Subject of tokens that a client gets for itself. */
  readonly clientSubject?: string;
}

/** A token service that speaks RFC 8414, 8693, 9449, 7662 and 7009 on loopback, and counts and keeps what it is asked. */
export interface FakeTokenService {
  readonly issuer: string;
  readonly counts: Record<'metadata' | 'jwks' | 'token' | 'introspect' | 'revoke', number>;
  readonly requests: SeenRequest[];
  /** Texts of the tokens that it issued, and of those that were revoked; a subject token can be put there too. */
  readonly issued: string[];
  readonly revoked: string[];
  /** What introspection says beside or instead of what is so; how it answers revocation requests. */
  introspected: object;
  revokeStatus: number;
  revokeBody: string;
  lie: Lie | undefined;
  delayMs: number;
  /** A user's token, as its own sign-in would give. */
  subjectToken(claims?: Record<string, unknown>, typ?: string): Promise<string>;
  /** Replaces its signing key; the old one leaves the key set. */
  rotateKey(): Promise<void>;
  /** Ends its listening, and all connections. */
  close(): Promise<void>;
  /** Listens again, at the same port and with the same keys. */
  up(): Promise<void>;
}

/** Starts one on a free port. */
export async function openFakeTokenService(options: FakeTokenServiceOptions = {}): Promise<FakeTokenService> {
  const service = new Fake(options, await makeSigner(), await makeSigner());
  await service.listen(await freePort());
  return service;
}

class Fake implements FakeTokenService {
  issuer = '';
  introspected = {};
  readonly counts = { metadata: 0, jwks: 0, token: 0, introspect: 0, revoke: 0 };
  readonly requests: SeenRequest[] = [];
  readonly issued: string[] = [];
  readonly revoked: string[] = [];
  revokeStatus = 200;
  revokeBody = '';
  delayMs: number;
  readonly #options: FakeTokenServiceOptions;
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });
  #signer: Signer;
  readonly #foreign: Signer;
  #lie: Lie | undefined;
  #nonce = 'first-nonce';
  readonly #claims = new Map<string, JWTPayload>();
  readonly #subjects = new Set<string>();

  constructor(options: FakeTokenServiceOptions, signer: Signer, foreign: Signer) {
    this.#options = options;
    this.#signer = signer;
    this.#foreign = foreign;
    this.lie = options.lie;
    this.delayMs = options.delayMs ?? 0;
  }

  get lie(): Lie | undefined {
    return this.#lie;
  }

  set lie(lie: Lie | undefined) {
    if (lie !== undefined && !isKnownLie(lie)) throw new Error(`no such lie: ${lie}`);
    this.#lie = lie;
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(port, '127.0.0.1', done));
    this.issuer = `http://127.0.0.1:${port}${this.#options.path ?? ''}`;
  }

  up(): Promise<void> {
    return this.listen(Number(new URL(this.issuer).port));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  async rotateKey(): Promise<void> {
    this.#signer = await makeSigner();
  }

  async subjectToken(claims: Record<string, unknown> = {}, typ = 'at+jwt'): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const base = { iss: this.issuer, sub: 'alice', aud: 'invoice-bot', iat: now, exp: now + 600 };
    const token = await this.#sign({ jti: randomBytes(8).toString('hex'), ...base, ...claims }, typ);
    this.#subjects.add(token);
    return token;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    if (path.includes('/.well-known/')) {
      this.counts.metadata++;
      const mine = path === `/.well-known/oauth-authorization-server${this.#options.path ?? ''}`;
      return mine ? send(response, 200, this.#metadata()) : send(response, 404, {});
    }
    if (path === '/jwks') {
      this.counts.jwks++;
      return send(response, 200, { keys: [this.#signer.jwk] });
    }
    const form = new URLSearchParams(await text(request));
    if (path === '/revoke') return this.#revoke(form, response);
    if (path === '/introspect') return this.#introspect(form, response);
    return path === '/token' ? this.#token(form, request, response) : send(response, 404, {});
  }

  #metadata(): Record<string, unknown> {
    const { origin } = new URL(this.issuer);
    const metadata = {
      issuer: this.issuer,
      token_endpoint: `${origin}/token`,
      jwks_uri: `${origin}/jwks`,
      revocation_endpoint: `${origin}/revoke`,
      introspection_endpoint: `${origin}/introspect`,
    };
    return this.#options.metadata?.(metadata) ?? metadata;
  }

  #revoke(form: URLSearchParams, response: ServerResponse): void {
    this.counts.revoke++;
    if (this.revokeStatus === 200) this.revoked.push(form.get('token') ?? '');
    response.writeHead(this.revokeStatus, { 'content-type': 'application/json' });
    response.end(this.revokeBody);
  }

  #introspect(form: URLSearchParams, response: ServerResponse): void {
    this.counts.introspect++;
    const token = form.get('token') ?? '';
    const known = (this.issued.includes(token) || this.#subjects.has(token)) && !this.revoked.includes(token);
    const active = known && this.lie !== 'inactive';
    send(response, 200, active ? { active, ...this.#claims.get(token), ...this.introspected } : { active });
  }

  async #token(form: URLSearchParams, request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.counts.token++;
    const proof = await readProof(request.headers['dpop'], `${new URL(this.issuer).origin}/token`);
    this.requests.push({ form, headers: request.headers, proof: proof?.claims });
    if (this.delayMs > 0) await new Promise((done) => setTimeout(done, this.delayMs));
    if (lieOnTheWire(this.lie, response)) return;
    if (this.#options.demandNonce === true || this.lie === 'nonce_for_ever') {
      const { nonce } = proof?.claims ?? {};
      const good = nonce === this.#nonce;
      if (good) this.#nonce = randomBytes(6).toString('base64url');
      response.setHeader('dpop-nonce', this.#nonce);
      if (!good) return send(response, 400, { error: 'use_dpop_nonce', error_description: 'nonce please' });
    }
    const lie = lyingAnswer(this.lie);
    if (lie !== undefined) return lieWith(lie, form, response);
    if (!this.#isClient(form, request)) return send(response, 401, { error: 'invalid_client' });
    await this.#issue(form, proof?.jkt, response);
  }

  #isClient(form: URLSearchParams, request: IncomingMessage): boolean {
    const { secret } = this.#options;
    if (secret === undefined || form.has('client_assertion')) return true;
    const basic = Buffer.from((request.headers.authorization ?? '').slice('Basic '.length), 'base64').toString();
    const sent = form.get('client_secret') ?? decodeURIComponent((basic.split(':')[1] ?? '').replaceAll('+', ' '));
    return sent === secret;
  }

  async #issue(form: URLSearchParams, jkt: string | undefined, response: ServerResponse): Promise<void> {
    const life = this.#options.lifeSeconds ?? 300;
    const subject = form.get('subject_token');
    const claims = honestClaims(form, this.issuer, life, jkt, this.#options.clientSubject);
    const told = this.lie === undefined ? claims : (claimLies[this.lie]?.(claims) ?? claims);
    const token = await this.#makeToken(told, subject);
    this.issued.push(token);
    this.#claims.set(token, told);
    const members = {
      access_token: token,
      token_type: jkt === undefined ? 'Bearer' : 'DPoP',
      ...(subject === null ? {} : { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' }),
      expires_in: life,
      ...(form.has('scope') ? { scope: form.get('scope') } : {}),
    };
    const lie = this.lie === undefined ? undefined : memberLies[this.lie];
    send(response, 200, lie?.(members) ?? members);
  }

  async #makeToken(claims: JWTPayload, subject: string | null): Promise<string> {
    if (this.lie === 'opaque') return randomBytes(24).toString('base64url');
    switch (this.lie) {
      case 'echo_subject':
        return subject ?? '';
      case 'foreign_key':
        return this.#sign(claims, 'at+jwt', this.#foreign.privateKey);
      case 'unsigned':
        return unsigned(claims);
      case 'id_token_typ':
        return this.#sign(claims, 'logout+jwt');
      case 'no_typ':
        return this.#sign(claims, undefined);
      default:
        return this.#sign(claims, 'at+jwt');
    }
  }

  #sign = (claims: JWTPayload, typ: string | undefined, key?: CryptoKey): Promise<string> =>
    signWith(this.#signer, claims, typ, key);
}
