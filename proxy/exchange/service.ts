import { Refusal } from '../refusal.ts';
import { IssuerMetadata } from '../trust/issuer-metadata.ts';
import { JwksCache, type VouchedBy } from '../trust/jwks.ts';
import type { Secret } from '../trust/secret.ts';
import { type FindActor, nobody, openActor, type OwnActor } from './actor.ts';
import { checkAnswer } from './check-answer.ts';
import { checkToken } from './check-token.ts';
import { openOwnClient, presenting } from './client-auth/own-client.ts';
import type { ClusterTokenSource } from './client-auth/kubernetes-jwt.ts';
import type { JwtSvidSource } from './client-auth/spiffe-jwt.ts';
import type { X509SvidSource } from './client-auth/spiffe-x509.ts';
import type { PresentCertificate } from './client-auth/tls-client.ts';
import { DeadGrant, isOfStatement } from './dead-grant.ts';
import { contradicts } from './introspected.ts';
import { Deadline } from './deadline.ts';
import { Discovery, endpointsFor, type ServiceEndpoints } from './discovery.ts';
import type { EndpointCall, EndpointReply } from './endpoint.ts';
import { heard, type ReportOptions, tellCut, tellFailure } from './exchange-report.ts';
import type { ExchangeOutcome, RevocationCause } from './exchange-trail.ts';
import { grantRequest } from './grant-request.ts';
import type { IssuedToken } from './issued-token.ts';
import { statementOrder } from './issuers/chaining.ts';
import { Rejection } from './rejection.ts';
import { NoStatement, withNonce, withOneRetry } from './retry.ts';
import { type RawAnswer, ServiceClient } from './service-client.ts';
import { readFault, readOutcome, refuse } from './service-refusal.ts';
import { ServiceGate, type Visit } from './service-gate.ts';
import { checkSubjectTime } from './subject-rules.ts';
import { tokenKinds } from './token-kinds.ts';
import type { TokenOrder } from './token-order.ts';
import { chooseVerification, jwtVerification, type Verification } from './verification.ts';
import { issueToken, wantedToken } from './wanted-token.ts';

/** Port: takes back a token that was issued and will not be used. Must not wait. */
export type TakeBack = (service: TokenService, order: TokenOrder, token: Secret, cause: RevocationCause) => void;

/** What one service needs; keys and metadata are shared by all services of a desk. */
export interface TokenServiceOptions extends ReportOptions {
  readonly call: EndpointCall;
  readonly vouchedBy: VouchedBy | undefined;
  readonly jwtSvids: JwtSvidSource;
  readonly x509Svids: X509SvidSource;
  readonly clusterTokens: ClusterTokenSource;
  readonly keys: JwksCache;
  readonly metadata: IssuerMetadata;
  readonly takeBack: TakeBack;
  /** The other services of the desk, for grants of two legs. */
  readonly find: (name: string) => TokenService | undefined;
}

/** One configured token service: exchange, every check of W5, and revocation. Keeps no issued token. */
export class TokenService {
  readonly name: string;
  readonly issuer: string;
  /** Whether its tokens are obtained by the SPIFFE identity of this workload, as client or as actor. */
  readonly needsIdentity: boolean;
  readonly #options: TokenServiceOptions;
  readonly #client: ServiceClient;
  readonly #discovery: Discovery;
  readonly #findActor: FindActor;
  readonly #keys: JwksCache;
  readonly #verification: Verification;
  readonly #present: PresentCertificate | undefined;
  readonly #gate: ServiceGate;

  constructor(options: TokenServiceOptions) {
    const { name, settings, world, jwtSvids, x509Svids, vouchedBy } = options;
    this.#gate = new ServiceGate(name, world);
    this.name = name;
    this.issuer = settings.issuer;
    this.needsIdentity = settings.client_auth.startsWith('spiffe_') || settings.actor === 'jwt-svid';
    this.#options = options;
    const { authenticate, present } = openOwnClient(options);
    this.#present = present;
    const call = this.#gate.watch(presenting(options.call, present));
    this.#client = new ServiceClient({ name, settings, world, call, authenticate });
    // A service that lets in nobody without a certificate does so for its documents too.
    const hasOwn = present !== undefined;
    this.#discovery = new Discovery(settings, hasOwn ? new IssuerMetadata(world, call, vouchedBy) : options.metadata);
    this.#findActor = openActor({ settings, client: this.#client, jwtSvids, x509Svids, world });
    this.#keys = hasOwn ? new JwksCache(world, call, vouchedBy) : options.keys;
    this.#verification = chooseVerification(settings, this.#keys, this.#client);
  }

  /**
   * A new token that passed every check, or a rejection with a `Refusal`; within the service's `timeout` either way, and that of the
   * service that grants it before, if there is one, for each statement.
   */
  async exchange(order: TokenOrder): Promise<IssuedToken> {
    const { world, trail, settings } = this.#options;
    // A service that is not to be asked needs no statement from another one.
    this.#gate.check();
    const state = () => this.#statementFor(order);
    const first = await state();
    const deadline = new Deadline(world, settings.timeout);
    const visit = await this.#gate.enter(deadline);
    const startedMs = world.monotonic();
    let outcome: ExchangeOutcome = 'fault';
    try {
      const token = await withNonce((one) => this.#exchange(order, one, visit, deadline), first, state);
      outcome = 'issued';
      tellCut(token, order, startedMs, this.#options);
      return token;
    } catch (error) {
      // Else a grantor that fails, or asks for a pause, would close the way to this service for orders that need no grantor.
      const isOurs = !(error instanceof NoStatement);
      if (isOurs) visit.fail(error);
      const told = isOurs ? tellFailure(error, order, startedMs, this.#options) : error.cause;
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
      return claims['active'] === true && !contradicts(claims, token, world.now());
    } catch (error) {
      visit.fail(error);
      const failure = heard(error, this.#options);
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
  async #exchange(
    order: TokenOrder,
    statement: IssuedToken | undefined,
    visit: Visit,
    deadline: Deadline,
  ): Promise<IssuedToken> {
    const { settings, world } = this.#options;
    checkSubjectTime(order.subject, world.now(), this.name);
    // Before the documents of the service, which are fetched with it too: their absence would be told in its place.
    await this.#present?.();
    const found = await this.#discovery.find(deadline);
    const endpoints = endpointsFor(order, found);
    const verification = this.#verificationOf(order);
    verification.checkPossible(endpoints);
    const askedAtMs = world.now();
    // From here on the token may exist. Our own is bound to nothing: where the order's certificate is looked at, there would be none to see.
    const actor = order.subject === undefined ? nobody : await this.#findActor(found, deadline);
    const request = () => this.#request(order, { actor, statement }, endpoints, deadline);
    // A statement is good for one attempt.
    const isOnce = visit.isProbe || statement !== undefined;
    const raw = await (isOnce ? request() : withOneRetry(request, deadline, world));
    try {
      const wanted = wantedToken(order, settings, actor.names);
      const answer = await checkAnswer(raw, order, wanted);
      const claims = await verification.readClaims(answer, endpoints, deadline);
      const said = claims === undefined ? undefined : checkToken(claims, wanted, world.now());
      return issueToken(answer, said, wanted, order, askedAtMs, world.now());
    } catch (error) {
      const failure = readFault(error, this.name);
      this.#disown(raw, order, failure);
      throw failure instanceof Rejection ? new Rejection(failure.rejected, raw.token?.id) : failure;
    }
  }

  /** Asks for the token: on behalf of the subject, or for ourselves where there is none. */
  async #request(
    order: TokenOrder,
    beside: { readonly actor: OwnActor; readonly statement: IssuedToken | undefined },
    endpoints: ServiceEndpoints,
    deadline: Deadline,
  ): Promise<RawAnswer> {
    const { subject } = order;
    const { grant, form } = await grantRequest(order, { ...this.#options, service: this.name, ...beside }, deadline);
    try {
      return await this.#client.requestToken(grant, form, endpoints, order, deadline);
    } catch (error) {
      if (isOfStatement(error, order)) throw refuse('exchange_refused', this.name, undefined, error.serviceError);
      // Only who issued the subject token knows whether it is over; what others do not take may be good elsewhere.
      if (error instanceof DeadGrant && subject?.iss === this.issuer)
        error.confirm(await this.#askActive(subject.token, endpoints, deadline));
      throw error;
    }
  }

  /** Undefined where the service does not say, for whatever reason. */
  async #askActive(token: Secret, endpoints: ServiceEndpoints, deadline: Deadline): Promise<boolean | undefined> {
    if (endpoints.introspection === undefined) return undefined;
    try {
      const { active } = await this.#client.introspect(token, endpoints, deadline);
      return typeof active === 'boolean' ? active : undefined;
    } catch {
      return undefined;
    }
  }

  /** The first of two legs. Asked for anew for each attempt, since its reader takes it once; never kept (RFC 7523 3). */
  async #statementFor(order: TokenOrder): Promise<IssuedToken | undefined> {
    if (order.grantedBy === undefined) return undefined;
    const first = statementOrder(order, this.#options.settings);
    const grantor = this.#options.find(first.service);
    if (grantor?.issuer !== first.issuer) throw new Error('a statement of a service of another configuration');
    return grantor.exchange(first);
  }

  /** A statement is always a signed JWT of a type of its own, whatever the service's access tokens are. */
  #verificationOf({ kind }: TokenOrder): Verification {
    const { statement } = tokenKinds[kind];
    return statement === undefined ? this.#verification : jwtVerification(this.#keys, statement.typ);
  }

  /** A token that we do not use must not stay good. What was merely handed back to us belongs to somebody else. */
  #disown(raw: RawAnswer, order: TokenOrder, failure: unknown): void {
    const cause = failure instanceof Rejection ? 'token_rejected' : 'unverified';
    if (raw.token !== undefined && !raw.echoed) this.#options.takeBack(this, order, raw.token, cause);
  }
}
