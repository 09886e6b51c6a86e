import { readFileSync } from 'node:fs';
import { isIP, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { Client } from 'undici';
import type { Tool } from '../intercept/tool-catalogue.ts';
import type { Target } from '../intercept/target.ts';
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

/**
 * Connections to tools, kept last in, first out for each (tool, origin): the warmest is used again and the rest age out. The key
 * holds the tool because TLS trust is the tool's. A client is one connection: when it ends, so does the client, and the next call
 * dials an address that was checked for it.
 */
export class Upstreams {
  readonly #world: World;
  readonly #idle = new Map<string, Client[]>();
  readonly #contexts = new Map<string, SecureContext>();
  readonly #all = new Set<Client>();

  constructor(world: World) {
    this.#world = world;
  }

  take(tool: Tool, target: Target, way: Way): Upstream {
    const key = `${tool.name} ${target.scheme} ${target.host} ${target.port} ${way.address} ${way.port}`;
    const idle = this.#idle.get(key);
    let client = idle?.pop();
    while (client !== undefined && (client.destroyed || client.closed)) client = idle?.pop();
    const taken = client ?? this.#open(key, tool, target, way);
    return {
      client: taken,
      release: () => this.#release(key, taken),
      discard: () => void taken.destroy().catch(() => undefined),
    };
  }

  /** Closes all connections; calls under way are cut. */
  async close(): Promise<void> {
    const clients = [...this.#all];
    this.#idle.clear();
    await Promise.allSettled(clients.map((client) => client.destroy()));
  }

  #release(key: string, client: Client): void {
    if (client.destroyed || client.closed) return;
    const idle = this.#idle.get(key);
    if (idle === undefined) this.#idle.set(key, [client]);
    else if (idle.length < maxIdle) idle.push(client);
    else void client.close().catch(() => undefined);
  }

  #open(key: string, tool: Tool, target: Target, way: Way): Client {
    const host = target.host.includes(':') ? `[${target.host}]` : target.host;
    const client = new Client(`${target.scheme}://${host}:${target.port}`, {
      pipelining: 1,
      allowH2: false,
      // No time-outs on headers and bodies: a tool may think for long, and streams have pauses (PEERS trap 14). TCP keep-alive finds the dead.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: 65_536,
      connect: (_options, done) => this.#dial(tool, target, way, done),
    });
    this.#all.add(client);
    client.once('disconnect', () => {
      this.#all.delete(client);
      const idle = this.#idle.get(key);
      const at = idle?.indexOf(client) ?? -1;
      if (at >= 0) idle?.splice(at, 1);
      if (idle?.length === 0) this.#idle.delete(key);
      void client.destroy().catch(() => undefined);
    });
    client.once('connectionError', () => this.#all.delete(client));
    return client;
  }

  #dial(tool: Tool, target: Target, way: Way, done: Dialled): void {
    const socket = this.#world.dial(way.address, way.port);
    const secure = target.scheme === 'https' ? this.#startTls(socket, tool, target) : undefined;
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
  #startTls(socket: Socket, tool: Tool, target: Target): TLSSocket {
    const byName = isIP(target.host) === 0;
    return connectTls({
      socket,
      host: target.host,
      ...(byName ? { servername: target.host } : {}),
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

type Dialled = (...args: [error: null, socket: Socket | TLSSocket] | [error: Error, socket: null]) => void;
