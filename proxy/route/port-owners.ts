import type { Socket } from 'node:net';
import { Refusal } from '../refusal.ts';
import { listenersAt, peersAreTold, uidOf } from '../tasks/peer.ts';
import type { World } from '../world.ts';
import { isOwnAddress } from './own-address.ts';

/** How long it is believed who listens at a port, milliseconds: to look it up takes as long as the machine has connections. */
const believedMs = 1000;
const maxBelieved = 1024;

/** Who listens at the ports of this machine. */
export class PortOwners {
  readonly #world: World;
  readonly #believed = new Map<string, { uids: readonly number[]; until: number }>();

  constructor(world: World) {
    this.#world = world;
  }

  /**
   * Refuses a port of this machine at which the caller itself listens: it would be handed the credential (W3). What the system does not
   * tell, and callers of our own user, from whom nothing of ours is safe, pass.
   */
  check(address: string, port: number, caller: Socket): void {
    if (!peersAreTold) return;
    const uid = uidOf(caller);
    if (uid === process.getuid?.()) return;
    const { remoteAddress } = caller;
    // Who calls from elsewhere listens at no port of ours. A connection from here that was hung up is nobody's any more.
    if (uid === undefined && remoteAddress !== undefined && !isOwnAddress(remoteAddress)) return;
    const listeners = this.#at(address, port);
    if (listeners === undefined) return;
    // Whoever begins to listen there before we connect would be no one that was looked at.
    if (listeners.length === 0)
      throw new Refusal('upstream_unreachable', `Nothing listens at port ${port} of this machine.`);
    if (uid === undefined || listeners.includes(uid)) throw new Refusal('address_forbidden', detailOf(port));
  }

  #at(address: string, port: number): readonly number[] | undefined {
    const key = `${address} ${port}`;
    const believed = this.#believed.get(key);
    if (believed !== undefined && believed.until > this.#world.monotonic()) return believed.uids;
    const uids = listenersAt(address, port);
    if (uids === undefined || uids.length === 0) return uids;
    // The ports are the agent's choice: a bounded memory, started anew when full.
    if (this.#believed.size >= maxBelieved) this.#believed.clear();
    this.#believed.set(key, { uids, until: this.#world.monotonic() + believedMs });
    return uids;
  }
}

const detailOf = (port: number): string =>
  `What listens at port ${port} of this machine is of the user that calls, and no credential goes to its caller. Call the port of the tool; its owner can name it (tools.X.match.port).`;
