import { Refusal } from '../refusal.ts';
import type { Secret } from '../trust/secret.ts';
import type { World } from '../world.ts';
import type { ClusterTokenSource } from './client-auth/kubernetes-jwt.ts';
import type { JwtSvidSource } from './client-auth/spiffe-jwt.ts';
import type { X509SvidSource } from './client-auth/spiffe-x509.ts';
import { type Dropped, type HeldToken, TokenCustody } from './custody.ts';
import { DeadGrant, taskEnded } from './dead-grant.ts';
import { withinTime } from './deadline.ts';
import type { Endpoints } from './endpoints.ts';
import type { ReportOptions } from './exchange-report.ts';
import { credentialOf, type ExchangeTrail, type IssueCause, type RevocationCause } from './exchange-trail.ts';
import type { IssuedToken } from './issued-token.ts';
import { RecentRefusals } from './recent-refusals.ts';
import { RecentRenewals } from './recent-renewals.ts';
import { OpenServices } from './open-services.ts';
import type { TokenService } from './service.ts';
import type { ServiceSettings } from './service-settings.ts';
import type { TokenOrder } from './token-order.ts';

export interface TokenDeskOptions extends Pick<ReportOptions, 'world' | 'trail' | 'onServiceError'> {
  /** `token_services` of the configuration, by name. */
  readonly services: ReadonlyMap<string, ServiceSettings>;
  readonly call: Endpoints['call'];
  readonly vouchedBy?: Endpoints['vouchedBy'];
  readonly jwtSvids: JwtSvidSource;
  readonly x509Svids: X509SvidSource;
  readonly clusterTokens: ClusterTokenSource;
  /** Hears of a task whose subject token is over by the word of its issuer, before the call that found out is refused. Never throws. */
  readonly onDeadGrant: (txn: string) => void;
}

/** An exchange that is under way. */
interface Flight {
  readonly order: TokenOrder;
  readonly promise: Promise<IssuedToken>;
  /** Its task ended, its tool was revoked, our identity was lost, or the configuration of tool or service changed, meanwhile. */
  unwanted?: 'task_ended' | 'identity_lost' | 'reconfigured';
}

/** Opens the desk over the configured services. Nothing is fetched before the first order. */
export function openTokenDesk(options: TokenDeskOptions): TokenDesk {
  return new TokenDesk(options);
}

/** The one place where calls get their tokens: from the cache, or by an exchange that all who wait for it share. */
export class TokenDesk {
  readonly #world: World;
  readonly #trail: ExchangeTrail;
  readonly #services: OpenServices;
  readonly #custody: TokenCustody;
  readonly #flights = new Map<string, Flight>();
  readonly #onDeadGrant: TokenDeskOptions['onDeadGrant'];
  readonly #refusals = new RecentRefusals();
  readonly #renewals = new RecentRenewals();
  #ending = false;

  constructor(options: TokenDeskOptions) {
    const { world, trail } = options;
    this.#world = world;
    this.#trail = trail;
    this.#onDeadGrant = options.onDeadGrant;
    this.#custody = new TokenCustody(world, trail, options.x509Svids);
    this.#services = new OpenServices(options, this.#custody);
  }

  /**
   * The token of an order: at once from the cache, else by an exchange. Throws or rejects with a `Refusal` of the stage `exchange`.
   */
  take(order: TokenOrder): IssuedToken | Promise<IssuedToken> {
    const now = this.#world.now();
    const entry = this.#custody.find(order.key);
    if (entry?.token.isUsable(now) !== true) return this.#obtain(order);
    if (now < entry.refreshAtMs) this.#trail.cache('hit');
    else this.#refresh(order);
    entry.token.lastUsedAtMs = now;
    return entry.token;
  }

  /**
   * After the tool called `token` expired: another one, and the old one goes back. Undefined when this order was renewed less than
   * 30 s ago: a tool that calls every token expired must not turn each call into an exchange.
   */
  renew(order: TokenOrder, token: IssuedToken): Promise<IssuedToken> | undefined {
    const entry = this.#custody.find(order.key);
    // Another call has renewed it meanwhile, or is about to.
    if (entry !== undefined && entry.token !== token && entry.token.isUsable(this.#world.now()))
      return Promise.resolve(entry.token);
    const flight = this.#flights.get(order.key);
    if (flight !== undefined) return flight.promise;
    if (this.#custody.isTaskEnded(order.txn)) return Promise.reject(taskEnded());
    const monotonicMs = this.#world.monotonic();
    if (!this.#renewals.mayRenew(order.key, monotonicMs)) return undefined;
    this.#renewals.note(order.key, monotonicMs);
    this.#custody.discard(order.key);
    return this.#fly(order, 'renewal');
  }

  /** Ends a task: its tokens leave the cache at once and go back to their issuers; exchanges under way will end in a refusal. */
  dropTask(txn: string, cause: RevocationCause): Dropped {
    for (const flight of this.#flights.values()) if (flight.order.txn === txn) flight.unwanted = 'task_ended';
    return this.#custody.dropTask(txn, cause);
  }

  /** The same for all tokens of one tool; its tasks stay open. */
  dropTool(tool: string, cause: RevocationCause): Dropped {
    const why = cause === 'reconfigured' ? cause : 'task_ended';
    for (const flight of this.#flights.values()) if (flight.order.tool === tool) flight.unwanted = why;
    return this.#custody.dropTool(tool, cause);
  }

  /** Our identity is gone, or is another: what was obtained by it leaves the cache at once and goes back. Its tasks stay open. */
  dropIdentity(): void {
    const byIdentity = (service: string | undefined): boolean =>
      service !== undefined && this.#services.get(service)?.needsIdentity === true;
    const isMeant = ({ service, grantedBy, assertion }: TokenOrder): boolean =>
      assertion === 'workload' || byIdentity(service) || byIdentity(grantedBy?.service);
    for (const flight of this.#flights.values()) if (isMeant(flight.order)) flight.unwanted ??= 'identity_lost';
    this.#custody.dropOrders(isMeant, 'identity_lost');
  }

  /** Takes the services of another configuration. What those had issued that changed, or would just have, goes back. Returns their names. */
  adopt(services: ReadonlyMap<string, ServiceSettings>): ReadonlySet<string> {
    const gone = this.#services.adopt(services);
    const isMeant = ({ service, grantedBy }: TokenOrder): boolean =>
      gone.has(service) || (grantedBy !== undefined && gone.has(grantedBy.service));
    for (const flight of this.#flights.values()) if (isMeant(flight.order)) flight.unwanted ??= 'reconfigured';
    this.#custody.dropOrders(isMeant, 'reconfigured');
    return gone;
  }

  /** To be called when our X.509-SVID was rotated or lost: tokens that are bound to another one than the current go back. */
  retireBound(): void {
    this.#custody.retireBound();
  }

  /** Whether a token of one of our services is still active, for tokens that callers present. Rejects with a `Refusal`. */
  isActive(service: string, token: Secret): Promise<boolean> {
    const found = this.#services.get(service);
    if (found === undefined) throw new Error('introspection at a service that is not configured');
    return found.isActive(token);
  }

  /** The tokens in use now. */
  held(): readonly HeldToken[] {
    return this.#custody.held();
  }

  /** Ends everything, and waits for exchanges under way and for revocations, at most `withinMs`. */
  async close(withinMs: number): Promise<void> {
    // From here on no token may arrive that nobody would take back.
    this.#ending = true;
    const endMs = this.#world.monotonic() + withinMs;
    for (const flight of this.#flights.values()) flight.unwanted = 'task_ended';
    this.#custody.dropAll('shutdown');
    await withinTime(Promise.allSettled([...this.#flights.values()].map(({ promise }) => promise)), withinMs);
    await this.#custody.drain(Math.max(1, endMs - this.#world.monotonic()));
  }

  /** There is no usable token: joins the exchange that is under way, repeats a fresh refusal, or starts. */
  #obtain(order: TokenOrder): Promise<IssuedToken> {
    if (this.#custody.isTaskEnded(order.txn)) throw taskEnded();
    const flight = this.#flights.get(order.key);
    const recent = flight === undefined ? this.#refusals.find(order.key, this.#world.monotonic()) : undefined;
    this.#trail.cache(recent === undefined ? 'miss' : 'negative');
    if (recent !== undefined) throw recent;
    const landing = flight?.promise ?? this.#fly(order, 'first');
    const hurried = this.#services.get(order.service)?.hurry(landing) ?? landing;
    // Of two legs either service may be the one that is probed.
    return order.grantedBy === undefined
      ? hurried
      : (this.#services.get(order.grantedBy.service)?.hurry(hurried) ?? hurried);
  }

  /** In the background: the caller has a good token and does not wait. */
  #refresh(order: TokenOrder): void {
    if (this.#flights.has(order.key) || this.#refusals.find(order.key, this.#world.monotonic()) !== undefined) {
      this.#trail.cache('stale');
      return;
    }
    this.#trail.cache('refresh');
    // A failure is recorded by the service and remembered for a moment; the old token is served until its own end.
    this.#fly(order, 'refresh').catch(() => undefined);
  }

  /** Starts the one exchange of an order. Everybody who comes before it lands gets its result. */
  #fly(order: TokenOrder, cause: IssueCause): Promise<IssuedToken> {
    if (this.#ending) return Promise.reject(new Refusal('overloaded', 'The sidecar is about to end.'));
    const { promise, resolve, reject } = Promise.withResolvers<IssuedToken>();
    const flight: Flight = { order, promise };
    this.#flights.set(order.key, flight);
    // Out of the map before anybody is told: who comes then finds the cache, or may try anew.
    const land = <T>(tell: (value: T) => void): ((value: T) => void) => {
      return (value) => {
        this.#flights.delete(order.key);
        tell(value);
      };
    };
    this.#exchange(flight, cause).then(land(resolve), land(reject));
    return promise;
  }

  async #exchange(flight: Flight, cause: IssueCause): Promise<IssuedToken> {
    const { order } = flight;
    const startedMs = this.#world.monotonic();
    const service = this.#serviceOf(order);
    let token: IssuedToken;
    try {
      token = await service.exchange(order);
    } catch (error) {
      if (error instanceof Refusal) this.#refusals.add(order.key, error, this.#world.monotonic());
      if (error instanceof DeadGrant && error.isConfirmed) this.#onDeadGrant(order.txn);
      throw error;
    }
    // A token that arrives after the end of its task would be nobody's: used by no call, and taken back by no end.
    if (flight.unwanted !== undefined) {
      this.#custody.giveBack({ order, token, service }, flight.unwanted);
      throw unwantedRefusal(flight.unwanted);
    }
    // All but a refresh have somebody waiting, who takes it at once.
    if (cause !== 'refresh') token.lastUsedAtMs = this.#world.now();
    this.#custody.keep(order, token, service);
    const { txn, tool } = order;
    const ms = this.#world.monotonic() - startedMs;
    this.#trail.issued({ txn, tool, service: service.name, ms, cause, credential: credentialOf(token) });
    return token;
  }

  /** The service that an order is for. */
  #serviceOf(order: TokenOrder): TokenService {
    const service = this.#services.get(order.service);
    // After a reload, the same name may stand for another issuer; an order from before must not be taken there.
    if (service?.issuer !== order.issuer) throw unwantedRefusal('reconfigured');
    return service;
  }
}

function unwantedRefusal(why: NonNullable<Flight['unwanted']>): Refusal {
  if (why === 'task_ended') return taskEnded();
  if (why === 'identity_lost') return new Refusal('identity_unavailable');
  return new Refusal(
    'token_service_unavailable',
    'The configuration of the tool or its token service has just changed; try again.',
  );
}
