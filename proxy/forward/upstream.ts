import type { Client } from 'undici';
import type { Tool } from '../intercept/tool-catalogue.ts';
import type { Origin } from '../intercept/origin.ts';
import type { Way } from '../route/egress-guard.ts';
import type { ClientCertificate } from '../trust/client-certificate.ts';
import type { World } from '../world.ts';
import { clientTo, dialTool, type Dialled } from './dial.ts';
import type { ToolTls } from './tool-tls.ts';

/** Idle connections kept for each origin; more are closed when their call ends. */
const maxIdle = 256;
/** And to all origins together: of more, those that were idle longest are closed. A tool may say that its own are to be kept for minutes. */
const maxIdleInAll = 1024;
/** Origins of one tool with a list of idle connections. A tool with a pattern of hosts has as many as the agent thinks of. */
const maxOrigins = 1024;

/** One connection to a tool, lent to one call at a time: a challenge is answered on the connection that it came on. */
export class Lease {
  readonly #shelf: Shelf;
  #connection: Connection;
  #spoiled = false;

  constructor(shelf: Shelf, connection: Connection) {
    this.#shelf = shelf;
    this.#connection = connection;
  }

  /** The client to send on: another one where it was destroyed between two attempts. */
  client(): Client {
    const { client } = this.#connection;
    if (!client.destroyed && !client.closed) return client;
    this.#connection = this.#shelf.open(this.#connection.way, this.#connection.bound);
    return this.#connection.client;
  }

  /** The newest DPoP nonce that came on this connection: replicas behind a balancer each have their own (DESIGN 7). */
  get nonce(): string | undefined {
    return this.#connection.nonce;
  }

  /** `x5t#S256` of the client certificate that this connection presents; undefined where it presents none. */
  get certificate(): string | undefined {
    return this.#connection.channel?.certificate;
  }

  keepNonce(nonce: string): void {
    this.#connection.nonce = nonce;
    this.#connection.nonceAtMs = this.#shelf.monotonic();
  }

  /** Whether a nonce came on this connection not longer ago than this. */
  hasNonceOf(maxAgeMs: number): boolean {
    const { nonce, nonceAtMs } = this.#connection;
    return nonce !== undefined && this.#shelf.monotonic() - nonceAtMs <= maxAgeMs;
  }

  /** After an abort nobody knows what is still on the wire: the connection will be closed. */
  spoil(): void {
    this.#spoiled = true;
  }

  /** Gives the connection back. Called once, when the call needs it no more. */
  giveBack(): void {
    const { client, hasEnded } = this.#connection;
    const { idle, isClosed } = this.#shelf;
    this.#connection.isLent = false;
    this.#connection.bound = undefined;
    const isGone = client.destroyed || client.closed || hasEnded || this.#spoiled;
    if (isGone || isClosed || idle.length >= maxIdle) this.#shelf.retire(this.#connection);
    else this.#shelf.keep(this.#connection);
  }
}

/** The idle connections of one tool and origin, and what is done when there is none or one too many. */
interface Shelf {
  readonly idle: Connection[];
  /** Nothing is kept on it any more. */
  isClosed: boolean;
  readonly monotonic: World['monotonic'];
  open(way: Way, bound: ClientCertificate | undefined): Connection;
  keep(connection: Connection): void;
  retire(connection: Connection): void;
}

/** A client and the checked address that it is connected to. */
interface Connection extends Dialled {
  readonly client: Client;
  nonce: string | undefined;
  /** When it came, by the monotonic clock. */
  nonceAtMs: number;
  /** Whether a call has it: then the end of the connection is the call's to deal with. */
  isLent: boolean;
  hasEnded: boolean;
}

/**
 * Connections to tools, kept last in, first out for each (tool, origin): the warmest is used again and the rest age out. The tool
 * belongs to the key because TLS trust is the tool's. A client is one connection: when it ends, so does the client, and the next call
 * dials an address that was checked for it.
 */
export class Upstreams {
  readonly #world: World;
  readonly #tls: ToolTls;
  /** Weak: a call that began before a change may come for a tool that was forgotten. */
  #shelves = new WeakMap<Tool, Map<Origin, Shelf>>();
  readonly #all = new Set<Client>();
  /** Idle connections of all shelves, those that were given back first in front, and where each of them is kept. */
  readonly #idle = new Map<Connection, Connection[]>();

  constructor(world: World, tls: ToolTls) {
    this.#world = world;
    this.#tls = tls;
  }

  /**
   * Lends the warmest idle connection to this address, or a new one. Throws a `Refusal` where TLS lacks an SVID or a bundle.
   * @param bound certificate that has to be presented on it, since the token of the call is bound to it (RFC 8705 3).
   */
  take(tool: Tool, origin: Origin, way: Way, bound?: ClientCertificate): Lease {
    const shelf = this.#shelfOf(tool, origin);
    let connection = shelf.idle.pop();
    while (connection !== undefined && !isUsable(connection, way, bound)) {
      this.#retire(connection);
      connection = shelf.idle.pop();
    }
    if (connection !== undefined) this.#idle.delete(connection);
    const lent = connection ?? shelf.open(way, bound);
    lent.isLent = true;
    lent.bound = bound;
    // Should the client dial again, it does so for this call.
    lent.way = way;
    return new Lease(shelf, lent);
  }

  /** A tool that is no more, or another now: its idle connections end, and those of calls under way with their calls. */
  forget(tool: Tool): void {
    for (const shelf of this.#shelves.get(tool)?.values() ?? []) this.#close(shelf);
    this.#shelves.delete(tool);
  }

  /** Closes all connections; calls under way are cut. */
  async close(): Promise<void> {
    const clients = [...this.#all];
    this.#shelves = new WeakMap();
    await Promise.allSettled(clients.map((client) => client.destroy()));
  }

  #shelfOf(tool: Tool, origin: Origin): Shelf {
    let byOrigin = this.#shelves.get(tool);
    if (byOrigin === undefined) {
      byOrigin = new Map();
      this.#shelves.set(tool, byOrigin);
    }
    let shelf = byOrigin.get(origin);
    if (shelf === undefined) {
      const idle: Connection[] = [];
      shelf = {
        idle,
        isClosed: false,
        monotonic: this.#world.monotonic,
        open: (way, bound) => this.#open(idle, tool, origin, way, bound),
        keep: (connection) => this.#keep(connection, idle),
        retire: (connection) => this.#retire(connection),
      };
      const [oldest] = byOrigin.size < maxOrigins ? [] : byOrigin;
      if (oldest !== undefined) {
        byOrigin.delete(oldest[0]);
        this.#close(oldest[1]);
      }
      byOrigin.set(origin, shelf);
    }
    return shelf;
  }

  /** Nobody looks on it any more. */
  #close(shelf: Shelf): void {
    shelf.isClosed = true;
    for (const one of shelf.idle.splice(0)) this.#retire(one);
  }

  #keep(connection: Connection, idle: Connection[]): void {
    idle.push(connection);
    this.#idle.set(connection, idle);
    if (this.#idle.size <= maxIdleInAll) return;
    const [oldest] = this.#idle;
    if (oldest !== undefined) this.#takeOut(...oldest);
  }

  #takeOut(connection: Connection, idle: Connection[]): void {
    const at = idle.indexOf(connection);
    if (at >= 0) idle.splice(at, 1);
    this.#retire(connection);
  }

  #retire(connection: Connection): void {
    this.#idle.delete(connection);
    this.#all.delete(connection.client);
    void connection.client.destroy().catch(() => undefined);
  }

  #open(idle: Connection[], tool: Tool, origin: Origin, way: Way, bound: ClientCertificate | undefined): Connection {
    const channel = origin.scheme === 'https' ? this.#tls.channelTo(tool, origin, bound) : undefined;
    const client = clientTo(origin, way, (done) =>
      dialTool(connection, { world: this.#world, tls: this.#tls, tool, origin }, done),
    );
    this.#all.add(client);
    const start = { nonce: undefined, nonceAtMs: 0, isLent: true, hasEnded: false };
    const connection: Connection = {
      client,
      way,
      address: way.address,
      channel,
      bound,
      acceptors: undefined,
      ...start,
    };
    client.on('disconnect', () => {
      connection.hasEnded = true;
      connection.nonce = undefined;
      // The news of an end may come after the connection was lent again: undici then dials the same checked address for that call.
      if (!connection.isLent) this.#takeOut(connection, idle);
    });
    client.on('connectionError', () => {
      connection.hasEnded = true;
    });
    return connection;
  }
}

function isUsable(
  { client, way, address, channel, acceptors }: Connection,
  wanted: Way,
  bound: ClientCertificate | undefined,
): boolean {
  if (bound !== undefined && channel?.certificate !== bound.thumbprint) return false;
  if (client.destroyed || client.closed || way.port !== wanted.port) return false;
  // The name may have moved: where it leads no more, nobody is the tool.
  if (address !== wanted.address && wanted.others?.includes(address) !== true) return false;
  // It stays with who accepted it, though another may listen there by now.
  if (wanted.chooser?.mayUse(acceptors) === false) return false;
  return channel?.isCurrent() !== false;
}
