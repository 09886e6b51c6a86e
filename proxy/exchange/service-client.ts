import {
  type AuthorizationServer,
  type Client,
  type ClientAuth,
  genericTokenEndpointRequest,
  introspectionRequest,
  revocationRequest,
} from 'oauth4webapi';
import { makeDpopProof, type ProofKey } from '../proofs/dpop.ts';
import type { ClientCertificate } from '../trust/client-certificate.ts';
import { Secret } from '../trust/secret.ts';
import { parseStrictJson } from '../trust/strict-json.ts';
import type { World } from '../world.ts';
import type { Deadline } from './deadline.ts';
import type { ServiceEndpoints } from './discovery.ts';
import { type EndpointCall, EndpointExchange, EndpointFault, type EndpointReply, isJson } from './endpoint.ts';
import { Rejection } from './rejection.ts';
import { isGatewayFailure, NonceDemanded } from './retry.ts';
import { readErrorCode, readFailure, refuseUnanswered } from './service-refusal.ts';
import type { ServiceSettings } from './service-settings.ts';

/** Port: adds client authentication to a request, within the time that its exchange has left. */
export type AuthenticateClient = (deadline: Deadline) => ClientAuth;

/** A 200 answer of the token endpoint before any check: one JSON object without repeated names. */
export interface RawAnswer {
  readonly json: Readonly<Record<string, unknown>>;
  /** The `access_token`, where it is a text that could be a token. */
  readonly token: Secret | undefined;
  /** The service handed back something that we had sent. */
  readonly echoed: boolean;
}

/** What a token is to be bound to: proved with a DPoP proof, or with the certificate of the connection (RFC 8705 3). */
export interface TokenBinding {
  readonly proofKey?: ProofKey | undefined;
  readonly certificate?: ClientCertificate | undefined;
  /** Set where the form holds a statement of another service. */
  readonly grantedBy?: unknown;
}

/** What a client of one service is made of. */
export interface ServiceClientOptions {
  readonly name: string;
  readonly settings: ServiceSettings;
  readonly authenticate: AuthenticateClient;
  readonly call: EndpointCall;
  readonly world: World;
}

/** RFC 6750 2.1 `b64token`: anything else could end the header that the token is put into. */
const tokenText = /^[A-Za-z0-9._~+/-]+=*$/;
const maxTokenLength = 16 * 1024;
/** RFC 9449 8.1: NQCHAR. */
const nonceText = /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/;

/** We as a client of one token service: its three endpoints, spoken to through oauth4webapi. */
export class ServiceClient {
  readonly #options: ServiceClientOptions;
  readonly #client: Client;
  /** Newest DPoP nonce of the token endpoint; those of tools are kept elsewhere (RFC 9449 8 and 9 are separate). */
  #nonce: string | undefined;

  constructor(options: ServiceClientOptions) {
    this.#options = options;
    // With `spiffe_jwt` and no configured id the SVID names the client; the library wants some text and does not send it.
    this.#client = { client_id: options.settings.client_id ?? 'unnamed' };
  }

  /**
   * Asks for a token. Rejects with a `Refusal`, with a `Rejection` for an answer that is none, or with the fault of the call.
   * A demanded nonce is answered once, within the same deadline; with a statement, whose reader takes it once (RFC 7523 3), it rejects with
   * `NonceDemanded`.
   */
  async requestToken(
    grant: string,
    form: URLSearchParams,
    endpoints: ServiceEndpoints,
    { proofKey, certificate, grantedBy }: TokenBinding,
    deadline: Deadline,
  ): Promise<RawAnswer> {
    for (let attempt = 1; ; attempt++) {
      const exchange = new EndpointExchange(this.#options.call, deadline, certificate);
      const headers = proofKey === undefined ? {} : { dpop: this.#proof(proofKey, endpoints.token) };
      const options = exchange.options(headers);
      await genericTokenEndpointRequest(this.#as(endpoints), this.#client, this.#auth(deadline), grant, form, options);
      const reply = exchange.reply();
      const newNonce = this.#keepNonce(reply);
      if (reply.status === 200) return readAnswer(reply, exchange);
      const again = proofKey !== undefined && newNonce && attempt === 1 && readErrorCode(reply) === 'use_dpop_nonce';
      if (again && grantedBy !== undefined) throw new NonceDemanded(this.#options.name);
      if (!again) throw readFailure(reply, this.#options.name, grant, this.#options.settings.dialect);
    }
  }

  /** RFC 7662: what the service itself says of a token. Rejects with a `Refusal` when it does not say. */
  async introspect(token: Secret, endpoints: ServiceEndpoints, deadline: Deadline): Promise<Record<string, unknown>> {
    const exchange = new EndpointExchange(this.#options.call, deadline);
    const form = { ...exchange.options(), additionalParameters: { token_type_hint: 'access_token' } };
    await introspectionRequest(this.#as(endpoints), this.#client, this.#auth(deadline), token.reveal(), form);
    const reply = exchange.reply();
    if (isGatewayFailure(reply)) throw new EndpointFault('unavailable');
    if (reply.status !== 200) throw refuseUnanswered(reply, this.#options.name);
    return readJson(reply);
  }

  /** RFC 7009. Returns the answer: what to do about a failure is for whoever keeps the queue. */
  async revoke(token: { reveal(): string }, endpoints: ServiceEndpoints, deadline: Deadline): Promise<EndpointReply> {
    const exchange = new EndpointExchange(this.#options.call, deadline);
    const form = { ...exchange.options(), additionalParameters: { token_type_hint: 'access_token' } };
    await revocationRequest(this.#as(endpoints), this.#client, this.#auth(deadline), token.reveal(), form);
    return exchange.reply();
  }

  /** The service as the library wants it. It never sees metadata, only endpoints that were checked. */
  #as(endpoints: ServiceEndpoints): AuthorizationServer {
    return {
      issuer: this.#options.settings.issuer,
      token_endpoint: endpoints.token.href,
      ...(endpoints.introspection === undefined ? {} : { introspection_endpoint: endpoints.introspection.href }),
      ...(endpoints.revocation === undefined ? {} : { revocation_endpoint: endpoints.revocation.href }),
    };
  }

  #auth(deadline: Deadline): ClientAuth {
    return this.#options.authenticate(deadline);
  }

  /** A proof without `ath`: there is no token yet (RFC 9449 5). */
  #proof(key: ProofKey, url: URL): string {
    const { world } = this.#options;
    return makeDpopProof(key, {
      htm: 'POST',
      htu: url.origin + url.pathname,
      iatSeconds: Math.floor(world.now() / 1000),
      jti: world.random(16).toString('base64url'),
      nonce: this.#nonce,
    });
  }

  /** Keeps a nonce from any answer, good or bad (RFC 9449 8.2). True where there was a new one to use. */
  #keepNonce(reply: EndpointReply): boolean {
    const nonce = reply.headers['dpop-nonce'];
    if (nonce === undefined || !nonceText.test(nonce)) return false;
    this.#nonce = nonce;
    return true;
  }
}

/** The answer with its token set apart, so that it can be revoked even where everything else about it is wrong. */
function readAnswer(reply: EndpointReply, exchange: EndpointExchange): RawAnswer {
  const json = readJson(reply);
  const { access_token: token } = json;
  const good = typeof token === 'string' && token.length <= maxTokenLength && tokenText.test(token);
  return {
    json,
    token: good ? new Secret(token) : undefined,
    echoed: typeof token === 'string' && exchange.hasSent(token),
  };
}

/** One JSON object, said to be one, without repeated names: two readers of it must see the same. */
function readJson(reply: EndpointReply): Record<string, unknown> {
  if (!isJson(reply)) throw new Rejection('not_json');
  try {
    return parseStrictJson(reply.body);
  } catch {
    throw new Rejection('malformed');
  }
}
