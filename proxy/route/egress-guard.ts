import { isIP, type Socket } from 'node:net';
import { Refusal } from '../refusal.ts';
import { sidecarName } from '../tasks/handle-text.ts';
import type { World } from '../world.ts';
import { classifyAddress, type AddressClass } from './address-class.ts';
import { PortChooser, PortOwners } from './port-owners.ts';

/** A checked address and the port to dial there. */
export interface Way {
  readonly address: string;
  readonly port: number;
  readonly kind: AddressClass;
  /** Other addresses of the name, checked as well and of the same kind: dialled one after the other where nobody answers at the first. */
  readonly others?: readonly string[];
  /** Who chose the port, where whoever listens there is believed to be the tool: what he accepts himself is no way for a credential. */
  readonly chooser?: PortChooser;
}

export interface Destination {
  readonly host: string;
  readonly port: number;
  /** Kinds of address that the host may have. */
  readonly addresses: readonly ('public' | 'private' | 'loopback')[];
  /** Connect here instead of asking DNS (`dial`). */
  readonly dial: { readonly address: string; readonly port: number } | undefined;
}

/** How long a checked answer is dialled again without asking, milliseconds. */
const keptMs = 5000;
const maxKept = 4096;
/** How long a call waits for the addresses of a name, milliseconds: the resolver of the system takes 10 s and more to call a name unknown. */
const resolveMs = 8000;
/** Names that are looked up at a time, besides those that were found before. They are the agent's choice, where a tool has a pattern of hosts. */
const maxLookups = 256;
/** Addresses of a name that are tried besides the first: each may take a second of the time that a connection has. */
const maxOthers = 3;
const noAddress = 'The name of the tool has no address.';
const itself = 'The destination is the sidecar itself.';

/**
 * Resolves a destination once, checks every address and hands out the one that is dialled: nobody asks DNS a second time, so an answer
 * that changes between check and dial changes nothing (DNS rebinding). One forbidden address among many refuses the name.
 */
export class EgressGuard {
  readonly #world: World;
  /** Whether an address and port is one of our own listeners: the agent must not reach the operator's side through us (W10). */
  readonly #isOwn: (address: string, port: number) => boolean;
  readonly #dials = new WeakMap<object, Way>();
  readonly #kept = new Map<string, { way: Way; until: number }>();
  /** By host. One that nobody waits for any more stays until the resolver is done with it. */
  readonly #lookups = new Map<string, Promise<readonly string[]>>();
  readonly #owners: PortOwners;

  constructor(world: World, isOwn: (address: string, port: number) => boolean) {
    this.#world = world;
    this.#isOwn = isOwn;
    this.#owners = new PortOwners(world);
  }

  /** A way at a port of the caller's choice, where one address alone is looked at. Refuses one to the caller itself. */
  chosenBy(caller: Socket, way: Way): Way {
    const chooser = new PortChooser(caller);
    // Elsewhere, and where this machine has other addresses, the connection tells: to ask for each call would cost more than the call.
    if (way.kind === 'loopback') this.#owners.check(way.address, way.port, chooser);
    return { ...way, others: [], chooser };
  }

  /** At once where nothing has to be asked. Throws or rejects with `address_forbidden` or `upstream_unreachable`. */
  find(destination: Destination): Way | Promise<Way> {
    const { dial, host, port } = destination;
    if (dial !== undefined) return this.#fixed(dial);
    if (isIP(host) !== 0) return this.#check([host], destination);
    const key = `${host} ${port} ${destination.addresses.join()}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined && kept.until > this.#world.monotonic()) return kept.way;
    return this.#ask(destination, key);
  }

  async #ask(destination: Destination, key: string): Promise<Way> {
    // Whoever answers for our own name would be sent what an agent, or a token service's URL, means for us.
    if (destination.host === sidecarName) throw new Refusal('address_forbidden', itself);
    const found = await this.#lookUp(destination.host, this.#kept.has(key));
    const way = this.#check(found, destination);
    // The youngest last: those in use stay, however many others an agent finds.
    this.#kept.delete(key);
    const [oldest] = this.#kept.size < maxKept ? [] : this.#kept.keys();
    if (oldest !== undefined) this.#kept.delete(oldest);
    this.#kept.set(key, { way, until: this.#world.monotonic() + keptMs });
    return way;
  }

  /**
   * One look-up of a name at a time, for all who wait for it. The system looks up two names at once and the others behind them: each call to
   * a name whose servers are silent would hold up all other tools, and the token services, for as long as that takes.
   * @param wasFound before: then the names that an agent thinks of do not shut it out, however many are looked up.
   */
  #lookUp(host: string, wasFound: boolean): Promise<readonly string[]> {
    let lookup = this.#lookups.get(host);
    if (lookup === undefined) {
      if (!wasFound && this.#lookups.size >= maxLookups)
        throw new Refusal('overloaded', 'Too many names are being looked up already.');
      lookup = this.#resolveInTime(host);
      this.#lookups.set(host, lookup);
    }
    return lookup;
  }

  #resolveInTime(host: string): Promise<readonly string[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
    const late = new Refusal('upstream_unreachable', 'The name of the tool was looked up in vain for 8 s.');
    const timer = setTimeout(() => reject(late), resolveMs);
    Promise.try(() => this.#world.resolve(host))
      .then(resolve, () => reject(new Refusal('upstream_unreachable', noAddress)))
      .finally(() => {
        clearTimeout(timer);
        this.#lookups.delete(host);
      });
    return promise;
  }

  #check(found: readonly string[], destination: Destination): Way {
    for (const address of found) {
      const kind: AddressClass = classifyAddress(address);
      if (kind === 'forbidden' || !destination.addresses.includes(kind)) throw new Refusal('address_forbidden');
    }
    // IPv4 first: where a name has both, IPv6 routes are missing more often.
    const [address, ...more] = found.toSorted((one, other) => isIP(one) - isIP(other));
    if (address === undefined) throw new Refusal('upstream_unreachable', noAddress);
    const way = this.#checkOwn({ address, port: destination.port, kind: classifyAddress(address) });
    // Of one kind: what is asked of the first afterwards, as whether a credential may go there in plain text, must hold for each.
    const others = more.filter((other) => classifyAddress(other) === way.kind && !this.#isOwn(other, way.port));
    return { ...way, others: others.slice(0, maxOthers) };
  }

  /** A configured address is not judged by its kind, and is checked once: the configuration does not change under it. */
  #fixed(dial: { readonly address: string; readonly port: number }): Way {
    let way = this.#dials.get(dial);
    if (way === undefined) {
      way = this.#checkOwn({ address: dial.address, port: dial.port, kind: classifyAddress(dial.address) });
      this.#dials.set(dial, way);
    }
    return way;
  }

  #checkOwn(way: Way): Way {
    if (this.#isOwn(way.address, way.port)) throw new Refusal('address_forbidden', itself);
    return way;
  }
}
