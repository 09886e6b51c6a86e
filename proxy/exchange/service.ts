import { Refusal } from '../refusal.ts';
import { IssuerMetadata, MetadataUnavailable } from '../trust/issuer-metadata.ts';
import { JwksCache } from '../trust/jwks.ts';
import type { Secret } from '../trust/secret.ts';
import type { World } from '../world.ts';
import { type FindActor, openActor, type OwnActor } from './actor.ts';
import { checkAnswer } from './check-answer.ts';
import { checkToken } from './check-token.ts';
import { openOwnClient, presenting } from './client-auth/own-client.ts';
import type { ClusterTokenSource } from './client-auth/kubernetes-jwt.ts';
import type { JwtSvidSource } from './client-auth/spiffe-jwt.ts';
import type { X509SvidSource } from './client-auth/spiffe-x509.ts';
import type { PresentCertificate } from './client-auth/tls-client.ts';
import { DeadGrant } from './dead-grant.ts';
import { Deadline } from './deadline.ts';
import { Discovery, type ServiceEndpoints } from './discovery.ts';
import type { EndpointCall, EndpointReply } from './endpoint.ts';
import { credentialOf, type ExchangeOutcome, type ExchangeTrail, type RevocationCause } from './exchange-trail.ts';
import type { IssuedToken } from './issued-token.ts';
import { clientCredentialsGrant, clientCredentialsParameters } from './issuers/client-credentials.ts';
import { exchangeParameters, tokenExchangeGrant } from './issuers/rfc8693.ts';
import { Rejection } from './rejection.ts';
import { type RawAnswer, ServiceClient } from './service-client.ts';
import { readFault, readOutcome, refuse } from './service-refusal.ts';
import type { ServiceSettings } from './service-settings.ts';
import { checkSubject, checkSubjectTime } from './subject-rules.ts';
import type { TokenOrder } from './token-order.ts';
import { introspection, jwtVerification, responseOnly, type Verification } from './verification.ts';
import { issueToken, outlives, wantedToken } from './wanted-token.ts';

/** Port: takes back a token that was issued and will not be used. Must not wait. */
export type TakeBack = (service: TokenService, order: TokenOrder, token: Secret, cause: RevocationCause) => void;

/** What one service needs; keys and metadata are shared by all services of a desk. */
export interface TokenServiceOptions {
  readonly name: string;
  readonly settings: ServiceSettings;
  readonly world: World;
  readonly call: EndpointCall;
  readonly jwtSvids: JwtSvidSource;
  readonly x509Svids: X509SvidSource;
  readonly clusterTokens: ClusterTokenSource;
  readonly keys: JwksCache;
  readonly metadata: IssuerMetadata;
  readonly trail: ExchangeTrail;
  readonly takeBack: TakeBack;
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
  readonly #verification: Verification;
  readonly #present: PresentCertificate | undefined;
  /** End of a pause that the service asked for (429 or 503 with Retry-After). */
  #pausedUntilMs = 0;

  constructor(options: TokenServiceOptions) {
    const { name, settings, world, jwtSvids, x509Svids } = options;
    this.name = name;
    this.issuer = settings.issuer;
    this.needsIdentity = settings.client_auth.startsWith('spiffe_') || settings.actor === 'jwt-svid';
    this.#options = options;
    const { authenticate, present } = openOwnClient(options);
    this.#present = present;
    const call = presenting(options.call, present);
    this.#client = new ServiceClient({ name, settings, world, call, authenticate });
    // A service that lets in nobody without a certificate does so for its documents too.
    const hasOwn = present !== undefined;
    this.#discovery = new Discovery(settings, hasOwn ? new IssuerMetadata(world, call) : options.metadata);
    this.#findActor = openActor({ settings, client: this.#client, jwtSvids, x509Svids, world });
    this.#verification = chooseVerification(settings, hasOwn ? new JwksCache(world, call) : options.keys, this.#client);
  }

  /** A new token that passed every check, or a rejection with a `Refusal`; within the service's `timeout` either way. */
  async exchange(order: TokenOrder): Promise<IssuedToken> {
    const { world, trail } = this.#options;
    this.#checkPause();
    const startedMs = world.monotonic();
    let outcome: ExchangeOutcome = 'fault';
    try {
      const token = await this.#exchange(order);
      outcome = 'issued';
      this.#tellCut(token, order, startedMs);
      return token;
    } catch (error) {
      const told = this.#tell(error, order, startedMs);
      if (told instanceof Refusal) outcome = readOutcome(told);
      throw told;
    } finally {
      trail.exchanged(this.name, outcome, (world.monotonic() - startedMs) / 1000);
    }
  }

  /** Whether the service is known to take tokens back. */
  isRevocable(): boolean {
    return this.#discovery.known()?.revocation !== undefined;
  }

  /** Whether a token is still active by the service's own word (RFC 7662). Rejects with a `Refusal` where it does not say. */
  async isActive(token: Secret): Promise<boolean> {
    const deadline = new Deadline(this.#options.world, this.#options.settings.timeout);
    try {
      const endpoints = await this.#discovery.find(deadline);
      if (endpoints.introspection === undefined) throw refuse('token_service_unavailable', this.name);
      const claims = await this.#client.introspect(token, endpoints, deadline);
      // Only the literal `true`: "true" and 1 are how a broken service says something else.
      return claims['active'] === true;
    } catch (error) {
      const failure = readFault(error, this.name);
      if (failure instanceof Rejection) throw refuse('token_service_unavailable', this.name);
      throw failure;
    }
  }

  /** RFC 7009, once. Undefined where the service has no revocation endpoint; rejects where it gives no answer. */
  async revoke(token: { reveal(): string }): Promise<EndpointReply | undefined> {
    const deadline = new Deadline(this.#options.world, this.#options.settings.timeout);
    const endpoints = await this.#discovery.find(deadline);
    return endpoints.revocation === undefined ? undefined : this.#client.revoke(token, endpoints, deadline);
  }

  /** The steps in their order: whatever needs no service first, then what costs most last, and every check before the token is used. */
  async #exchange(order: TokenOrder): Promise<IssuedToken> {
    const { settings, world } = this.#options;
    const deadline = new Deadline(world, settings.timeout);
    checkSubjectTime(order.subject, world.now(), this.name);
    // Before the documents of the service, which are fetched with it too: their absence would be told in its place.
    await this.#present?.();
    const endpoints = endpointsFor(order, await this.#discovery.find(deadline));
    this.#verification.checkPossible(endpoints);
    const askedAtMs = world.now();
    // From here the token's life is counted, and from here on it may exist.
    const actor = order.subject === undefined ? nobody : await this.#findActor(endpoints, deadline);
    const raw = await this.#request(order, actor, endpoints, deadline);
    try {
      const wanted = wantedToken(order, settings, actor.names);
      const answer = await checkAnswer(raw, order, wanted);
      const claims = await this.#verification.readClaims(answer, endpoints, deadline);
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
    actor: OwnActor,
    endpoints: ServiceEndpoints,
    deadline: Deadline,
  ): Promise<RawAnswer> {
    const { subject } = order;
    if (subject === undefined) {
      const form = clientCredentialsParameters(order);
      return this.#client.requestToken(clientCredentialsGrant, form, endpoints, order, deadline);
    }
    checkSubject(subject, actor.names, this.#options.settings, this.name);
    const form = exchangeParameters(order, subject, actor.token);
    try {
      return await this.#client.requestToken(tokenExchangeGrant, form, endpoints, order, deadline);
    } catch (error) {
      // Only who issued the subject token knows whether it is over; what others do not take may be good elsewhere.
      if (error instanceof DeadGrant && subject.iss === this.issuer)
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
    if (failure instanceof Refusal && failure.retryAfter !== undefined) {
      this.#pausedUntilMs = world.now() + failure.retryAfter * 1000;
    }
    return failure;
  }

  /** Its use was cut in any case; where the settings say so, it is also told of. */
  #tellCut(token: IssuedToken, order: TokenOrder, startedMs: number): void {
    const { settings, trail, world } = this.#options;
    if (settings.expect.life !== 'cut' || !outlives(token.validUntilMs, order)) return;
    const { txn, tool } = order;
    const ms = world.monotonic() - startedMs;
    trail.cut({ txn, tool, service: this.name, ms, cause: 'lifetime', credential: credentialOf(token) });
  }

  /** A service that asked for a pause gets it, from all tasks alike: its limit is on the client, which is us. */
  #checkPause(): void {
    const leftMs = this.#pausedUntilMs - this.#options.world.now();
    if (leftMs > 0) throw refuse('token_service_unavailable', this.name, Math.ceil(leftMs / 1000));
  }
}

/** RFC 8705 5: a token that shall be bound to our certificate is asked for where certificates are looked at. */
function endpointsFor({ certificate }: TokenOrder, endpoints: ServiceEndpoints): ServiceEndpoints {
  if (certificate === undefined) return endpoints;
  // Its alias is where nothing of ours may go. The other endpoint would not bind the token, or not know us.
  if (endpoints.certifiedToken === undefined) throw new MetadataUnavailable();
  return { ...endpoints, token: endpoints.certifiedToken };
}

/** In a grant for ourselves there is no actor beside the subject. */
const nobody: OwnActor = { token: undefined, names: [] };

function chooseVerification(settings: ServiceSettings, keys: JwksCache, client: ServiceClient): Verification {
  if (settings.verify === 'jwt') return jwtVerification(keys, settings.expect.typ);
  return settings.verify === 'introspect' ? introspection(client) : responseOnly();
}
