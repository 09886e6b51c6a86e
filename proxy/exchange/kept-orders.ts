import type { Origin } from '../intercept/origin.ts';
import type { Errand } from '../tasks/task.ts';
import type { TokenOrder } from './token-order.ts';

/** Of one task at one tool. Ports are the agent's choice, and an order is soon made again. */
const maxOrigins = 64;

/** Orders that were made for (task, tool, origin) before. */
export class KeptOrders {
  /** By the text of the origin: there may be two objects of one. */
  readonly #orders = new WeakMap<Errand, Map<string, TokenOrder>>();

  find(errand: Errand, { text }: Origin): TokenOrder | undefined {
    return this.#orders.get(errand)?.get(text);
  }

  keep(errand: Errand, { text }: Origin, order: TokenOrder): void {
    const orders = this.#orders.get(errand) ?? new Map<string, TokenOrder>();
    this.#orders.set(errand, orders);
    if (orders.size >= maxOrigins) orders.clear();
    orders.set(text, order);
  }
}
