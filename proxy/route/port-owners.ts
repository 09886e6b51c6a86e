import type { Socket } from 'node:net';
import { Refusal } from '../refusal.ts';
import { acceptorsOf, listenersAt, uidOf } from '../tasks/peer.ts';
import { peersAreTold } from '../tasks/socket-tables.ts';
import type { World } from '../world.ts';
import { classifyAddress } from './address-class.ts';
import { isOwnAddress } from './own-address.ts';

/** How long it is believed who listens at a port, milliseconds: to look it up takes as long as the machine has connections. */
const believedMs = 1000;
const maxBelieved = 1024;

/** Who chose the port of a call, by naming it where the configuration does not. */
export class PortChooser {
  readonly #caller: Socket;

  constructor(caller: Socket) {
    this.#caller = caller;
  }

  /** Callers of our own user, from whom nothing of ours is safe, and all where the system tells of nobody. */
  isTrusted(): boolean {
    if (!peersAreTold) return true;
    const uid = uidOf(this.#caller);
    if (uid !== undefined) return uid === process.getuid?.();
    // Who calls from elsewhere listens at no port of ours. A connection from here that was hung up is nobody's any more.
    const { remoteAddress } = this.#caller;
    return remoteAddress !== undefined && !isOwnAddress(remoteAddress);
  }

  /**
   * Looks at who has the other end of a connection that was just opened, for it may have changed since `check`, and a connection stays with
   * who accepted it, whoever listens there afterwards. Refuses his own; else returns the users who may have it, undefined where all may.
   */
  inspect(connection: Socket): readonly number[] | undefined {
    const { remoteAddress } = connection;
    // First, since it is told at once: what is elsewhere is of no user of this machine.
    if (remoteAddress !== undefined && !isOwnAddress(remoteAddress)) return untold;
    if (this.isTrusted()) return undefined;
    const users = usersAt(connection);
    if (users === undefined) return untold;
    this.refuseAmong(users, connection.remotePort ?? 0);
    return users;
  }

  /** Whether a connection of before, with the users that `inspect` returned for it, is good for him. */
  mayUse(acceptors: readonly number[] | undefined): boolean {
    return acceptors === untold || this.isTrusted() || (acceptors !== undefined && !this.#isAmong(acceptors));
  }

  /** For who is not trusted. */
  refuseAmong(users: readonly number[], port: number): void {
    // Whoever begins to listen there before we connect would be no one that was looked at.
    if (users.length === 0)
      throw new Refusal('upstream_unreachable', `Nothing listens at port ${port} of this machine.`);
    if (this.#isAmong(users)) throw new Refusal('address_forbidden', detailOf(port));
  }

  #isAmong(users: readonly number[]): boolean {
    const uid = uidOf(this.#caller);
    return uid === undefined || users.includes(uid);
  }
}

/** Users of a connection of which the system tells none, or whose other end is elsewhere. */
const untold: readonly number[] = [];

/** Users who may have the other end of a connection to this machine; undefined where none is told. */
function usersAt(connection: Socket): readonly number[] | undefined {
  const acceptors = acceptorsOf(connection);
  const { remoteAddress, remotePort = 0 } = connection;
  if (acceptors?.length !== 0 || remoteAddress === undefined || classifyAddress(remoteAddress) === 'loopback')
    return acceptors;
  // Rules that root made lead a port of such an address on to a container, whose end stands in no table of ours. No listener, no user.
  const listeners = listenersAt(remoteAddress, remotePort);
  return listeners?.length === 0 ? undefined : listeners;
}

/** Who listens at the ports of this machine. */
export class PortOwners {
  readonly #world: World;
  readonly #believed = new Map<string, { uids: readonly number[]; until: number }>();

  constructor(world: World) {
    this.#world = world;
  }

  /** Refuses a port of this machine at which the one who chose it listens: he would be handed the credential (W3). */
  check(address: string, port: number, chooser: PortChooser): void {
    if (chooser.isTrusted()) return;
    const listeners = this.#at(address, port);
    if (listeners !== undefined) chooser.refuseAmong(listeners, port);
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
