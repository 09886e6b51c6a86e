import type { Origin } from '../intercept/origin.ts';
import type { Tool } from '../intercept/tool-catalogue.ts';
import { Refusal } from '../refusal.ts';
import type { Errand } from '../tasks/task.ts';
import type { World } from '../world.ts';
import { handingMs, lastMomentMs } from './issued-token.ts';
import { txnTokenOrder } from './issuers/txn-token.ts';
import { KeptOrders } from './kept-orders.ts';
import type { ServiceSettings } from './service-settings.ts';
import type { TokenDesk } from './token-desk.ts';
import type { TokenOrder } from './token-order.ts';

/** A transaction token on its way to a tool: one of ours, or the one that the task came with. */
export interface TxnToken {
  readonly expiresAtMs: number;
  /** The text itself; only for the header of a call inside the trust domain. */
  reveal(): string;
}

/** Which calls carry a transaction token, and which one. */
export class TxnTokens {
  readonly #desk: TokenDesk;
  readonly #services: ReadonlyMap<string, Pick<ServiceSettings, 'issuer'>>;
  readonly #world: World;
  readonly #orders = new KeptOrders();

  constructor(desk: TokenDesk, services: ReadonlyMap<string, Pick<ServiceSettings, 'issuer'>>, world: World) {
    this.#desk = desk;
    this.#services = services;
    this.#world = world;
  }

  /**
   * For a call to a tool inside the trust domain: the token that the task came with, unchanged, else one of ours where the tool wants it.
   * Undefined for every other tool: the token ends at the border. Throws or rejects with a `Refusal`.
   */
  take(errand: Errand, origin: Origin, tool: Tool): TxnToken | Promise<TxnToken> | undefined {
    const { trust_domain: side, txn_token: own } = tool.settings;
    if (side !== 'inside') return undefined;
    const carried = errand.task.txnToken;
    if (carried !== undefined) {
      // It is not replaced either: a new one would be another transaction under the same name.
      const { text, expiresAtMs } = carried;
      if (expiresAtMs <= this.#world.now() + handingMs + lastMomentMs)
        throw new Refusal('grant_dead', 'The transaction token of this task has ended.');
      return { expiresAtMs, reveal: () => text.reveal() };
    }
    return own === undefined ? undefined : this.#desk.take(this.#orderFor(errand, origin, tool, own));
  }

  #orderFor(
    errand: Errand,
    origin: Origin,
    tool: Tool,
    settings: NonNullable<Tool['settings']['txn_token']>,
  ): TokenOrder {
    let order = this.#orders.find(errand, origin);
    if (order === undefined) {
      const issuer = this.#services.get(settings.from)?.issuer;
      if (issuer === undefined) throw new Error('a tool whose transaction token service is not configured');
      const { txn, grant: subject } = errand.task;
      order = txnTokenOrder(settings, { txn, tool: tool.name, toolOrigin: origin.text, issuer, subject });
      this.#orders.keep(errand, origin, order);
    }
    return order;
  }
}
