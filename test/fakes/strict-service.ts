import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { createLocalJWKSet, decodeJwt, type JSONWebKeySet, jwtVerify, SignJWT, type JWTPayload } from 'jose';
import { makeSigner, send, type Signer } from './token-service-parts.ts';

/** What a statement or token is made of, before it is signed; a lie changes it. */
export interface Draft {
  header: { alg: string; kid: string; typ?: string };
  claims: Record<string, unknown>;
  members: Record<string, unknown>;
}

export interface StrictServiceOptions {
  /** Clients by id, with their secrets. */
  readonly clients: Readonly<Record<string, string>>;
  /** As whom others know its clients: `client_id` of an ID-JAG, and audience of the tokens that they are called with. */
  readonly knownAs?: string;
  /** How it names a subject of another service. */
  readonly rename?: (sub: string) => string;
  /** How a profile of its own differs: changes every honest draft. */
  readonly habit?: (draft: Draft, form: URLSearchParams) => void;
}

/** A token service that believes nothing: it issues statements for others, and takes theirs only when every check of the drafts passed. */
export interface StrictService {
  readonly issuer: string;
  readonly requests: URLSearchParams[];
  readonly issued: string[];
  readonly revoked: string[];
  /** Why it refused, in order. */
  readonly refused: string[];
  lie: ((draft: Draft) => void) | undefined;
  /** What its token endpoint waits for. */
  until: Promise<void> | undefined;
  /** Takes statements of another issuer. */
  trust(issuer: string, keys: () => JSONWebKeySet): void;
  keys(): JSONWebKeySet;
  subjectToken(claims?: Record<string, unknown>): Promise<string>;
  close(): Promise<void>;
}

const uri = 'urn:ietf:params:oauth:token-type:';
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/** Starts one on a free port of loopback. */
export async function openStrictService(options: StrictServiceOptions): Promise<StrictService> {
  const service = new Strict(options, await makeSigner());
  await service.listen();
  return service;
}

class Strict implements StrictService {
  issuer = '';
  readonly requests: URLSearchParams[] = [];
  readonly issued: string[] = [];
  readonly revoked: string[] = [];
  readonly refused: string[] = [];
  lie: StrictService['lie'];
  until: Promise<void> | undefined;
  readonly #options: StrictServiceOptions;
  readonly #signer: Signer;
  readonly #trusted = new Map<string, () => JSONWebKeySet>();
  readonly #seenIds = new Set<string>();
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });

  constructor(options: StrictServiceOptions, signer: Signer) {
    this.#options = options;
    this.#signer = signer;
  }

  async listen(): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    this.issuer = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    this.trust(this.issuer, () => this.keys());
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  trust(issuer: string, keys: () => JSONWebKeySet): void {
    this.#trusted.set(issuer, keys);
  }

  keys(): JSONWebKeySet {
    return { keys: [this.#signer.jwk] };
  }

  subjectToken(claims: Record<string, unknown> = {}): Promise<string> {
    const base = { ...this.#times(600), sub: 'alice', aud: 'invoice-bot', jti: randomBytes(8).toString('hex') };
    return this.#sign({ iss: this.issuer, ...base, ...claims }, { alg: 'ES256', kid: this.#kid(), typ: 'at+jwt' });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '';
    if (path === '/.well-known/oauth-authorization-server') {
      const endpoint = (name: string): string => `${this.issuer}/${name}`;
      return send(response, 200, {
        issuer: this.issuer,
        token_endpoint: endpoint('token'),
        jwks_uri: endpoint('jwks'),
        revocation_endpoint: endpoint('revoke'),
      });
    }
    if (path === '/jwks') return send(response, 200, this.keys());
    const form = new URLSearchParams(await text(request));
    const client = this.#clientOf(request);
    if (client === undefined) return send(response, 401, { error: 'invalid_client' });
    if (path === '/revoke') {
      this.revoked.push(form.get('token') ?? '');
      return send(response, 200, {});
    }
    this.requests.push(form);
    await this.until;
    try {
      const draft = await this.#draft(form, client);
      this.#options.habit?.(draft, form);
      this.lie?.(draft);
      const token = await this.#sign(draft.claims, draft.header);
      this.issued.push(token);
      return send(response, 200, { access_token: token, ...draft.members });
    } catch (error) {
      this.refused.push(error instanceof Error ? error.message : String(error));
      return send(response, 400, { error: 'invalid_grant' });
    }
  }

  #clientOf(request: IncomingMessage): string | undefined {
    const basic = Buffer.from((request.headers.authorization ?? '').slice('Basic '.length), 'base64').toString();
    const [id = '', secret = ''] = basic.split(':').map((part) => decodeURIComponent(part));
    return this.#options.clients[id] === secret ? id : undefined;
  }

  /** What an honest service would issue. Throws where it would not. */
  async #draft(form: URLSearchParams, client: string): Promise<Draft> {
    const grant = form.get('grant_type') ?? '';
    const isStatement = grant === jwtBearer;
    const from = await this.#verify(
      form.get(isStatement ? 'assertion' : 'subject_token') ?? '',
      isStatement,
      client,
      form.get('requested_token_use') === 'on_behalf_of',
    );
    const scope = form.has('scope') ? { scope: form.get('scope') } : {};
    const header = { alg: 'ES256', kid: this.#kid(), typ: 'at+jwt' };
    const own = { iss: this.issuer, ...this.#times(120), jti: randomBytes(8).toString('hex') };
    const type = isStatement ? `${uri}access_token` : (form.get('requested_token_type') ?? '');
    const stated = { token_type: 'N_A', issued_token_type: type, expires_in: 120 };
    if (type === `${uri}id-jag`) {
      const resource = form.has('resource') ? { resource: form.get('resource') } : {};
      const claims = {
        ...own,
        sub: from.sub,
        aud: form.get('audience'),
        client_id: this.#options.knownAs,
        ...resource,
        ...scope,
      };
      return { header: { ...header, typ: 'oauth-id-jag+jwt' }, claims, members: { ...stated, ...scope } };
    }
    if (type === `${uri}jwt` && form.has('resource') && !form.has('scope')) {
      const { jti: _none, ...rest } = own;
      const claims = { ...rest, sub: from.sub, aud: form.get('resource') };
      return { header: { alg: 'ES256', kid: this.#kid() }, claims, members: stated };
    }
    if (type === `${uri}txn_token`) {
      const context = ['request_context', 'request_details'].map(
        (name) => JSON.parse(form.get(name) ?? '{}') as unknown,
      );
      const claims = {
        ...this.#times(120),
        aud: form.get('audience'),
        txn: randomBytes(8).toString('hex'),
        sub: from.sub,
        req_wl: client,
        rctx: context[0],
        tctx: context[1],
        ...scope,
      };
      return { header: { ...header, typ: 'txntoken+jwt' }, claims, members: stated };
    }
    const audience = [...form.getAll('audience'), ...form.getAll('resource')];
    const details = form.has('authorization_details')
      ? { authorization_details: JSON.parse(form.get('authorization_details') ?? '') as unknown }
      : {};
    const foreign = from.iss !== this.issuer;
    const sub = foreign ? (this.#options.rename?.(from.sub ?? '') ?? from.sub) : from.sub;
    const claims = {
      ...own,
      sub,
      aud: audience.length === 1 ? audience[0] : audience,
      client_id: client,
      ...scope,
      ...details,
    };
    const issuedType = isStatement ? {} : { issued_token_type: type };
    return { header, claims, members: { token_type: 'Bearer', expires_in: 120, ...issuedType, ...scope, ...details } };
  }

  /** What was handed in, by the checks of the drafts: signature, typ, audience, client, life, and once only. */
  async #verify(token: string, isStatement: boolean, client: string, onBehalfOf: boolean): Promise<JWTPayload> {
    const claimed = decodeJwt(token);
    const keys = this.#trusted.get(claimed.iss ?? claimed.sub?.split('/', 3).join('/') ?? '');
    if (keys === undefined) throw new Error('issuer');
    const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(keys()));
    if (!isStatement) return payload;
    // On behalf of: the token that our client was called with, as often as it has to.
    if (onBehalfOf) {
      if (payload.aud !== this.#options.knownAs) throw new Error('audience');
      return payload;
    }
    if (payload.aud !== this.issuer && String(payload.aud) !== this.issuer) throw new Error('audience');
    if ((payload.exp ?? Infinity) - (payload.iat ?? Math.floor(Date.now() / 1000)) > 300) throw new Error('life');
    const { typ } = protectedHeader;
    if (typ === 'oauth-id-jag+jwt' && payload['client_id'] !== client) throw new Error('client');
    if (typ !== undefined && !['oauth-id-jag+jwt', 'JWT'].includes(typ)) throw new Error('typ');
    if (this.#seenIds.has(token)) throw new Error('again');
    this.#seenIds.add(token);
    return payload;
  }

  #kid(): string {
    return this.#signer.jwk.kid ?? '';
  }

  #times(life: number): { iat: number; exp: number } {
    const iat = Math.floor(Date.now() / 1000);
    return { iat, exp: iat + life };
  }

  #sign(claims: Record<string, unknown>, header: Draft['header']): Promise<string> {
    return new SignJWT(claims).setProtectedHeader(header).sign(this.#signer.privateKey);
  }
}
