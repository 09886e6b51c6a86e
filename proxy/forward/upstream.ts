import { readFileSync } from 'node:fs';
import { isIP, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { Client } from 'undici';
import type { Tool } from '../intercept/tool-catalogue.ts';
import type { Origin } from '../intercept/origin.ts';
import type { Way } from '../route/egress-guard.ts';
import type { World } from '../world.ts';

/** How long a TCP connection and a TLS handshake may take together, milliseconds. */
const connectMs = 5000;
/** Idle connections kept for each origin; more are closed when their call ends. */
const maxIdle = 256;

/** One connection to a tool, used by one call at a time. */
export interface Upstream {
  readonly client: Client;
  /** Gives the connection back after a call that left it clean. */
  release(): void;
  /** Closes it: after an abort nobody knows what is still on the wire. */
  discard(): void;
}

/** A client and the checked address that it is connected to. */
interface Connection {
  readonly client: Client;
  readonly way: Way;
  /** Whether a call has it: then the news of its end must not take the client from under that call. */
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
  readonly #idle = new Map<Tool, Map<Origin, Connection[]>>();
  readonly #contexts = new Map<string, SecureContext>();
  readonly #all = new Set<Client>();

  constructor(world: World) {
    this.#world = world;
  }

  take(tool: Tool, origin: Origin, way: Way): Upstream {
    const idle = this.#idleOf(tool, origin);
    let connection = idle.pop();
    while (connection !== undefined && !isUsable(connection, way)) {
      this.#retire(connection);
      connection = idle.pop();
    }
    const taken = connection ?? this.#open(idle, tool, origin, way);
    taken.isLent = true;
    return {
      client: taken.client,
      release: () => this.#release(idle, taken),
      discard: () => this.#retire(taken),
    };
  }

  /** Closes all connections; calls under way are cut. */
  async close(): Promise<void> {
    const clients = [...this.#all];
    this.#idle.clear();
    await Promise.allSettled(clients.map((client) => client.destroy()));
  }

  #release(idle: Connection[], connection: Connection): void {
    connection.isLent = false;
    const { client, hasEnded } = connection;
    if (client.destroyed || client.closed || hasEnded || idle.length >= maxIdle) this.#retire(connection);
    else idle.push(connection);
  }

  #retire({ client }: Connection): void {
    this.#all.delete(client);
    void client.destroy().catch(() => undefined);
  }

  #idleOf(tool: Tool, origin: Origin): Connection[] {
    let byOrigin = this.#idle.get(tool);
    if (byOrigin === undefined) {
      byOrigin = new Map();
      this.#idle.set(tool, byOrigin);
    }
    let idle = byOrigin.get(origin);
    if (idle === undefined) {
      idle = [];
      // A tool with a wildcard host has as many origins as the agent thinks of.
      if (byOrigin.size >= 1024) byOrigin.clear();
      byOrigin.set(origin, idle);
    }
    return idle;
  }

  #open(idle: Connection[], tool: Tool, origin: Origin, way: Way): Connection {
    const host = origin.host.includes(':') ? `[${origin.host}]` : origin.host;
    const client = new Client(`${origin.scheme}://${host}:${origin.port}`, {
      pipelining: 1,
      allowH2: false,
      // No time-outs on headers and bodies: a tool may think for long, and streams have pauses (PEERS trap 14). TCP keep-alive finds the dead.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: 65_536,
      connect: (_options, done) => this.#dial(tool, origin, way, done),
    });
    this.#all.add(client);
    const connection: Connection = { client, way, isLent: true, hasEnded: false };
    client.on('disconnect', () => {
      connection.hasEnded = true;
      // The end of a connection is told a turn after the answer that ended it, and by then it may be lent again. That call was not
      // sent yet: undici dials the same checked address for it. Destroyed here, it would fail without having left.
      if (connection.isLent) return;
      const at = idle.indexOf(connection);
      if (at >= 0) idle.splice(at, 1);
      this.#retire(connection);
    });
    client.on('connectionError', () => this.#all.delete(client));
    return connection;
  }

  #dial(tool: Tool, origin: Origin, way: Way, done: Dialled): void {
    const socket = this.#world.dial(way.address, way.port);
    const secure = origin.scheme === 'https' ? this.#startTls(socket, tool, origin) : undefined;
    const connection = secure ?? socket;
    const settle = (error: Error | null): void => {
      clearTimeout(timer);
      connection.removeListener('error', settle);
      if (error === null) {
        done(null, connection);
        return;
      }
      socket.destroy();
      done(error, null);
    };
    const timer = setTimeout(() => settle(new Error('the connection took too long')), connectMs);
    connection.once('error', settle);
    connection.once(secure === undefined ? 'connect' : 'secureConnect', () => settle(null));
  }

  /** TLS to the tool is verified in full: chain, name, validity; by the tool's own CA where it has one. */
  #startTls(socket: Socket, tool: Tool, origin: Origin): TLSSocket {
    const byName = isIP(origin.host) === 0;
    return connectTls({
      socket,
      host: origin.host,
      ...(byName ? { servername: origin.host } : {}),
      ALPNProtocols: ['http/1.1'],
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      secureContext: this.#contextFor(tool),
    });
  }

  #contextFor(tool: Tool): SecureContext {
    const { ca } = tool.settings.tls;
    const key = ca ?? '';
    let context = this.#contexts.get(key);
    if (context === undefined) {
      context = createSecureContext(ca === undefined ? {} : { ca: readFileSync(ca, 'utf8') });
      this.#contexts.set(key, context);
    }
    return context;
  }
}

function isUsable({ client, way }: Connection, wanted: Way): boolean {
  return !client.destroyed && !client.closed && way.address === wanted.address && way.port === wanted.port;
}

type Dialled = (...args: [error: null, socket: Socket | TLSSocket] | [error: Error, socket: null]) => void;
