import { Refusal } from '../refusal.ts';
import type { IssuerMetadata } from '../trust/issuer-metadata.ts';
import type { JwksCache } from '../trust/jwks.ts';
import type { Secret } from '../trust/secret.ts';
import type { World } from '../world.ts';
import { type FindActor, openActor, type OwnActor } from './actor.ts';
import { checkAnswer } from './check-answer.ts';
import { checkToken } from './check-token.ts';
import { clientSecretAuth } from './client-auth/client-secret.ts';
import { type JwtSvidSource, spiffeJwtAuth } from './client-auth/spiffe-jwt.ts';
import { Deadline } from './deadline.ts';
import { Discovery, type ServiceEndpoints } from './discovery.ts';
import type { EndpointCall, EndpointReply } from './endpoint.ts';
import { credentialOf, type ExchangeOutcome, type ExchangeTrail, type RevocationCause } from './exchange-trail.ts';
import type { IssuedToken } from './issued-token.ts';
import { clientCredentialsGrant, clientCredentialsParameters } from './issuers/client-credentials.ts';
import { exchangeParameters, tokenExchangeGrant } from './issuers/rfc8693.ts';
import { Rejection } from './rejection.ts';
import { withOneRetry } from './retry.ts';
import { type AuthenticateClient, type RawAnswer, ServiceClient } from './service-client.ts';
import { readFault, readOutcome, refuse } from './service-refusal.ts';
import { ServiceGate, type Visit } from './service-gate.ts';
import type { ServiceSettings } from './service-settings.ts';
import { checkSubject, checkSubjectTime } from './subject-rules.ts';
import type { TokenOrder } from './token-order.ts';
import { introspection, jwtVerification, responseOnly, type Verification } from './verification.ts';
import { issueToken, wantedToken } from './wanted-token.ts';

/** Port: takes back a token that was issued and will not be used. Must not wait. */
export type TakeBack = (service: TokenService, order: TokenOrder, token: Secret, cause: RevocationCause) => void;

/** What one service needs; keys and metadata are shared by all services of a desk. */
export interface TokenServiceOptions {
  readonly name: string;
  readonly settings: ServiceSettings;
  readonly world: World;
  readonly call: EndpointCall;
  readonly jwtSvids: JwtSvidSource;
  readonly keys: JwksCache;
  readonly metadata: IssuerMetadata;
  readonly trail: ExchangeTrail;
  readonly takeBack: TakeBack;
}

/** One configured token service: exchange, every check of W5, and revocation. Keeps no issued token. */
export class TokenService {
  readonly name: string;
  readonly issuer: string;
  readonly #options: TokenServiceOptions;
  readonly #client: ServiceClient;
  readonly #discovery: Discovery;
  readonly #findActor: FindActor;
  readonly #verification: Verification;
  readonly #gate: ServiceGate;

  constructor(options: TokenServiceOptions) {
    const { name, settings, world, jwtSvids } = options;
    this.#gate = new ServiceGate(name, world);
    const call = this.#gate.watch(options.call);
    this.name = name;
    this.issuer = settings.issuer;
    this.#options = options;
    this.#client = new ServiceClient({ name, settings, world, call, authenticate: chooseAuth(options) });
    this.#discovery = new Discovery(settings, options.metadata);
    this.#findActor = openActor({ settings, client: this.#client, jwtSvids, world });
    this.#verification = chooseVerification(options, this.#client);
  }

  /** A new token that passed every check, or a rejection with a `Refusal`; within the service's `timeout` either way. */
  async exchange(order: TokenOrder): Promise<IssuedToken> {
    const { world, trail, settings } = this.#options;
    const deadline = new Deadline(world, settings.timeout);
    const visit = await this.#gate.enter(deadline);
    const startedMs = world.monotonic();
    let outcome: ExchangeOutcome = 'fault';
    try {
      const token = await this.#exchange(order, visit, deadline);
      outcome = 'issued';
      return token;
    } catch (error) {
      visit.fail(error);
      const told = this.#tell(error, order, startedMs);
      if (told instanceof Refusal) outcome = readOutcome(told);
      throw told;
    } finally {
      visit.end();
      trail.exchanged(this.name, outcome, (world.monotonic() - startedMs) / 1000);
    }
  }

  /** Waits for an exchange of this service that is under way, as long as there is hope that it answers. */
  hurry(landing: Promise<IssuedToken>): Promise<IssuedToken> {
    return this.#gate.hurry(landing);
  }

  /** Whether the service is known to take tokens back. */
  isRevocable(): boolean {
    return this.#discovery.known()?.revocation !== undefined;
  }

  /** Whether a token is still active by the service's own word (RFC 7662). Rejects with a `Refusal` where it does not say. */
  async isActive(token: Secret): Promise<boolean> {
    const { world, settings } = this.#options;
    const deadline = new Deadline(world, settings.timeout);
    const visit = await this.#gate.enter(deadline);
    try {
      const endpoints = await this.#discovery.find(deadline);
      if (endpoints.introspection === undefined) throw refuse('token_service_unavailable', this.name);
      const introspect = () => this.#client.introspect(token, endpoints, deadline);
      const claims = await (visit.isProbe ? introspect() : withOneRetry(introspect, deadline, world));
      // Only the literal `true`: "true" and 1 are how a broken service says something else.
      return claims['active'] === true;
    } catch (error) {
      visit.fail(error);
      const failure = readFault(error, this.name);
      if (failure instanceof Rejection) throw refuse('token_service_unavailable', this.name);
      throw failure;
    } finally {
      visit.end();
    }
  }

  /**
   * RFC 7009, once. Undefined where the service has no revocation endpoint; rejects where it gives no answer, and with a `Refusal`
   * that says when to come back where it is not to be asked now. What comes of it is not held against the service's tokens.
   */
  async revoke(token: { reveal(): string }): Promise<EndpointReply | undefined> {
    this.#gate.check();
    const deadline = new Deadline(this.#options.world, this.#options.settings.timeout);
    const endpoints = await this.#discovery.find(deadline);
    return endpoints.revocation === undefined ? undefined : this.#client.revoke(token, endpoints, deadline);
  }

  /** The steps in their order: whatever needs no service first, then what costs most last, and every check before the token is used. */
  async #exchange(order: TokenOrder, visit: Visit, deadline: Deadline): Promise<IssuedToken> {
    const { settings, world } = this.#options;
    checkSubjectTime(order.subject, world.now(), this.name);
    const endpoints = await this.#discovery.find(deadline);
    this.#verification.checkPossible(endpoints);
    const askedAtMs = world.now();
    // From here the token's life is counted, and from here on it may exist.
    const actor = order.subject === undefined ? nobody : await this.#findActor(endpoints, deadline);
    const request = () => this.#request(order, actor, endpoints, deadline);
    const raw = await (visit.isProbe ? request() : withOneRetry(request, deadline, world));
    try {
      const answer = await checkAnswer(raw, order, settings.issuer, settings.max_lifetime);
      const claims = await this.#verification.readClaims(answer, endpoints, deadline);
      const wanted = wantedToken(order, settings, actor.names);
      const said = claims === undefined ? undefined : checkToken(claims, wanted, world.now());
      return issueToken(answer, said, order, askedAtMs, world.now());
    } catch (error) {
      const failure = readFault(error, this.name);
      this.#disown(raw, order, failure);
      throw failure instanceof Rejection ? new Rejection(failure.rejected, raw.token?.id) : failure;
    }
  }

  /** Asks for the token: on behalf of the subject, or for ourselves where there is none. */
  #request(order: TokenOrder, actor: OwnActor, endpoints: ServiceEndpoints, deadline: Deadline): Promise<RawAnswer> {
    const { subject, proofKey } = order;
    if (subject === undefined) {
      const form = clientCredentialsParameters(order);
      return this.#client.requestToken(clientCredentialsGrant, form, endpoints, proofKey, deadline);
    }
    checkSubject(subject, actor.names, this.#options.settings, this.name);
    const form = exchangeParameters(order, subject, actor.token);
    return this.#client.requestToken(tokenExchangeGrant, form, endpoints, proofKey, deadline);
  }

  /** A token that we do not use must not stay good. What was merely handed back to us belongs to somebody else. */
  #disown(raw: RawAnswer, order: TokenOrder, failure: unknown): void {
    if (raw.token === undefined || raw.echoed) return;
    const cause = failure instanceof Rejection ? 'token_rejected' : 'unverified';
    this.#options.takeBack(this, order, raw.token, cause);
  }

  /** What a caller is told. A rejection is recorded, since it means that the service widened or broke (W5). */
  #tell(error: unknown, order: TokenOrder, startedMs: number): unknown {
    const { world, trail } = this.#options;
    const failure = readFault(error, this.name);
    if (failure instanceof Rejection) {
      const { txn, tool, audience, scopes = [] } = order;
      const id = failure.tokenId;
      const credential = id === undefined ? undefined : credentialOf({ service: this.name, id, audience, scopes });
      const ms = world.monotonic() - startedMs;
      trail.rejected({ txn, tool, service: this.name, ms, cause: failure.rejected, credential });
      return refuse('token_rejected', this.name);
    }
    return failure;
  }
}

/** In a grant for ourselves there is no actor beside the subject. */
const nobody: OwnActor = { token: undefined, names: [] };

/** The configuration makes sure that a secret has its file; without one here is a fault, before anything listens. */
function chooseAuth({ settings, jwtSvids }: TokenServiceOptions): AuthenticateClient {
  const { client_auth: method, client_id: clientId, client_secret_file: file } = settings;
  if (method === 'spiffe_jwt') return spiffeJwtAuth(jwtSvids, settings.issuer, clientId);
  if (file === undefined) throw new Error('client_secret_file is missing');
  return clientSecretAuth(method, file);
}

function chooseVerification({ settings, keys }: TokenServiceOptions, client: ServiceClient): Verification {
  if (settings.verify === 'jwt') return jwtVerification(keys, settings.expect.typ);
  return settings.verify === 'introspect' ? introspection(client) : responseOnly();
}
