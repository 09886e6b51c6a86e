import type { Tool } from '../intercept/tool-catalogue.ts';
import { Refusal } from '../refusal.ts';
import type { Routed } from '../route/route.ts';
import type { Errand } from '../tasks/task.ts';
import type { ClientCertificate } from '../trust/client-certificate.ts';
import type { World } from '../world.ts';
import { currentSvid, type X509SvidSource } from './client-auth/spiffe-x509.ts';
import { taskEnded } from './dead-grant.ts';
import { lastMomentMs, type IssuedToken } from './issued-token.ts';
import { type BrokeredSecret, type SecretUse, SecretShelf } from './issuers/brokered-secret.ts';
import { KeptOrders } from './kept-orders.ts';
import type { ServiceSettings } from './service-settings.ts';
import type { TokenDesk } from './token-desk.ts';
import { makeTokenOrder, type TokenOrder } from './token-order.ts';
import { type TxnToken, TxnTokens } from './txn-tokens.ts';

/** The credential of one call: a token issued for exactly this task, tool and origin, a static key of the tool, or none where it takes none. */
class CallCredential {
  readonly #made = true;
  readonly routed: Routed;
  /** Undefined for tools without `token` and `secret`. */
  readonly held: HeldCredential | undefined;

  constructor(routed: Routed, held: HeldCredential | undefined) {
    this.routed = routed;
    this.held = held;
  }

  /** Our certificate that the token is bound to: the only one it may be used with (RFC 8705 3). */
  get certificate(): ClientCertificate | undefined {
    return this.held?.order?.certificate;
  }

  /** Whether all of it may be sent now: what was good when it was taken may have been waited with since. */
  isUsable(nowMs: number): boolean {
    const { held } = this;
    const isOver = (token: { readonly expiresAtMs: number }): boolean => token.expiresAtMs <= nowMs + lastMomentMs;
    if (held?.order !== undefined && isOver(held.token)) return false;
    return held?.txnToken === undefined || !isOver(held.txnToken);
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Credential = CallCredential;

/** What goes to the tool. Only a token was ordered, and only one can be bound to a key. */
export type HeldCredential =
  | (Beside & {
      readonly order: TokenOrder;
      readonly token: IssuedToken;
      readonly from: 'cache' | 'exchange';
      /** The token that the tool called expired a moment ago: it has seen that one too. */
      readonly before?: IssuedToken;
    })
  | (Beside & { readonly order: undefined; readonly token: BrokeredSecret; readonly from: 'file' });

interface Beside {
  /** The transaction token that goes along, inside the trust domain. */
  readonly txnToken: TxnToken | undefined;
}

/** Name of a token service in the configuration, and its issuer. */
export interface ServedBy {
  readonly service: string;
  readonly issuer: string;
}

/** Port: the token service of a tool at an origin, which was settled before. */
export interface ChosenService {
  servedBy(tool: Tool, toolOrigin: string): ServedBy;
}

/** What orders need to know of each token service, by its name in the configuration. */
export type KnownServices = ReadonlyMap<string, Pick<ServiceSettings, 'issuer' | 'dialect'>>;

/** Port: whether what is known here of revocations is all that there is. */
export interface KnownRevocations {
  readonly isCurrent: boolean;
}

/** Port: the tools that the configuration had and has no more, or that are others now. */
export interface FormerTools {
  has(tool: Tool): boolean;
}

/** Where a purse finds what calls carry. */
export interface PurseOptions {
  readonly desk: TokenDesk;
  readonly services: KnownServices;
  readonly choice: ChosenService;
  readonly svids: X509SvidSource;
  readonly revocations: KnownRevocations;
  readonly formerTools: FormerTools;
  readonly world: World;
}

/** Opens the purse over a desk. */
export function openPurse(options: PurseOptions): Purse {
  return new Purse(options);
}

/** Where calls get their credentials: the desk with the orders that were made for (task, tool, origin) before, or the shelf of static keys. */
class Purse {
  readonly #desk: TokenDesk;
  readonly #shelf: SecretShelf;
  readonly #txnTokens: TxnTokens;
  readonly #services: KnownServices;
  readonly #choice: ChosenService;
  readonly #svids: X509SvidSource;
  readonly #revocations: KnownRevocations;
  readonly #formerTools: FormerTools;
  readonly #orders = new KeptOrders();

  constructor({ desk, services, choice, svids, revocations, formerTools, world }: PurseOptions) {
    this.#desk = desk;
    this.#shelf = new SecretShelf(world);
    this.#txnTokens = new TxnTokens(desk, services, world);
    this.#services = services;
    this.#choice = choice;
    this.#svids = svids;
    this.#revocations = revocations;
    this.#formerTools = formerTools;
  }

  /** Exchanges for a routed call, at once where the token is cached. Throws or rejects with a refusal of the stage `exchange`. */
  exchange(routed: Routed): Credential | Promise<Credential> {
    const { call, errand } = routed.permit.attributed;
    if (!call.tool.credentialed) return new CallCredential(routed, undefined);
    if (errand === undefined) throw new Error('a tool with a credential was permitted without a task');
    // It may have ended since its handle was read, while the body came: nothing is asked for in its name any more.
    if (errand.task.state !== 'open') throw taskEnded();
    this.#checkNotRevoked(errand, call.tool);
    const txnToken = this.#txnTokens.take(errand, call.target.origin, call.tool);
    // One after the other: what a refused call had asked for besides would be nobody's.
    if (txnToken instanceof Promise) return txnToken.then((token) => this.#take(errand, routed, token));
    return this.#take(errand, routed, txnToken);
  }

  #take(errand: Errand, routed: Routed, txnToken: TxnToken | undefined): Credential | Promise<Credential> {
    // Again: a transaction token may have been waited for.
    this.#checkNotRevoked(errand, routed.permit.attributed.call.tool);
    if (routed.permit.attributed.call.tool.settings.secret !== undefined) return this.#brokered(routed, txnToken);
    const order = this.#orderFor(errand, routed);
    const taken = this.#desk.take(order);
    if (!(taken instanceof Promise))
      return new CallCredential(routed, { order, token: taken, from: 'cache', txnToken });
    return taken.then((token) => new CallCredential(routed, { order, token, from: 'exchange', txnToken }));
  }

  /** Exchanges anew after the tool called the token expired. Undefined where that was done moments ago: then the answer stands. */
  async renew(credential: Credential): Promise<Credential | undefined> {
    const { held, routed } = credential;
    if (held?.order === undefined) return undefined;
    // The tool refuses a token that was revoked, and it must not be the tool that gets us a new one.
    const { errand, call } = routed.permit.attributed;
    if (errand !== undefined) this.#checkNotRevoked(errand, call.tool);
    const renewed = this.#desk.renew(held.order, held.token);
    return renewed === undefined
      ? undefined
      : new CallCredential(routed, { ...held, token: await renewed, before: held.token, from: 'exchange' });
  }

  /** Of the static key of a tool: its name in events, and when a call last got it. */
  useOfSecret(tool: string): SecretUse {
    return this.#shelf.useOf(tool);
  }

  /**
   * A tool whose credentials were revoked gets no new ones for what was issued before: the user has to sign in again. Of a fleet whose
   * store is silent nobody knows what was revoked: nothing is handed out then, from the cache neither. A call that began before a change may
   * end as it began, but what is asked for now nobody would take back.
   */
  #checkNotRevoked({ task, tool }: Errand, settled: Tool): void {
    if (this.#formerTools.has(settled))
      throw new Refusal('token_service_unavailable', 'The configuration of the tool has just changed; try again.');
    if (task.hasClosed(tool)) throw new Refusal('grant_dead', 'The credentials of this tool were revoked.');
    if (!this.#revocations.isCurrent) throw new Refusal('fleet_unavailable');
  }

  #brokered(routed: Routed, txnToken: TxnToken | undefined): Credential | Promise<Credential> {
    const made = (token: BrokeredSecret): Credential =>
      new CallCredential(routed, { order: undefined, token, from: 'file', txnToken });
    const taken = this.#shelf.take(routed.permit.attributed.call);
    return taken instanceof Promise ? taken.then(made) : made(taken);
  }

  /** A token goes only to the origin it was exchanged for (W2): another scheme or port of the same tool is another order. */
  #orderFor(errand: Errand, routed: Routed): TokenOrder {
    const { target, tool } = routed.permit.attributed.call;
    const { origin } = target;
    const certificate = tool.settings.token?.proof === 'mtls' ? currentSvid(this.#svids) : undefined;
    let order = this.#orders.find(errand, origin);
    // After a rotation of the SVID the token of the one before is of no use on new connections; the desk takes it back by itself.
    if (order === undefined || order.certificate !== certificate) {
      order = this.#makeOrder(errand, tool, origin.text, certificate);
      this.#orders.keep(errand, origin, order);
    }
    return order;
  }

  #makeOrder(errand: Errand, tool: Tool, toolOrigin: string, certificate: ClientCertificate | undefined): TokenOrder {
    const { token } = tool.settings;
    if (token === undefined) throw new Error('an order for a tool without token');
    const { task } = errand;
    const { granted_by: grantor } = token;
    const served = this.#choice.servedBy(tool, toolOrigin);
    const service = this.#serviceNamed(served.service);
    const own = task.grant === undefined ? 'client_credentials' : service.dialect.grant;
    const grant = token.grant ?? own;
    const alone = grant === 'client_credentials' || token.assertion === 'workload';
    return makeTokenOrder({
      txn: task.txn,
      tool: tool.name,
      toolOrigin,
      ...served,
      grant,
      kind: token.requested_token_type,
      grantedBy: grantor === undefined ? undefined : { service: grantor, issuer: this.#serviceNamed(grantor).issuer },
      assertion: token.assertion,
      details: token.authorization_details,
      subject: alone ? undefined : task.grant,
      audience: token.audience,
      resource: token.resource,
      scopes: token.scopes,
      proofKey: token.proof === 'dpop' ? task.proofKey() : undefined,
      certificate,
      useForMs: token.use_for,
    });
  }

  #serviceNamed(name: string): Pick<ServiceSettings, 'issuer' | 'dialect'> {
    const service = this.#services.get(name);
    if (service === undefined) throw new Error('a tool whose token service is not configured');
    return service;
  }
}

export type { Purse };
