import { isIP, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { callbackify, isDeepStrictEqual } from 'node:util';
import { Agent, type buildConnector } from 'undici';
import type { Destination, Way } from '../route/egress-guard.ts';
import { readAuthorities } from '../spiffe/authorities-file.ts';
import type { ClientCertificate } from '../trust/client-certificate.ts';
import type { World } from '../world.ts';
import type { ServiceSettings } from './service-settings.ts';

/** Port: finds the checked address of a destination (the egress guard). */
export interface FindWay {
  find(destination: Destination): Way | Promise<Way>;
}

/** Files with the CA certificates (PEM) of services that the public authorities do not vouch for, by origin. */
export type PrivateAuthorities = ReadonlyMap<string, string>;

/** A token service, or an issuer of tokens that others hand to us. */
type Recognised = Pick<ServiceSettings, 'issuer' | 'endpoints' | 'tls'> & { readonly jwks_uri?: string | undefined };

/** The files of the configuration. They hold for all that is on an origin: metadata and keys of trusted issuers too. */
export function privateAuthorities(recognised: Iterable<Recognised>): PrivateAuthorities {
  const files = new Map<string, string>();
  for (const { issuer, endpoints = {}, jwks_uri: keys, tls } of recognised) {
    if (tls?.ca === undefined) continue;
    for (const url of [issuer, keys, ...Object.values(endpoints)])
      if (url !== undefined) files.set(new URL(url).origin, tls.ca);
  }
  return files;
}

/** Token services are named by the operator, so they may stand anywhere but where nothing of ours may go. */
const addresses = ['public', 'private', 'loopback'] as const;
/** A certificate that was not presented for so long was replaced, milliseconds: its connections are closed and its key is let go. */
const unusedMs = 60_000;
const maxAgents = 256;
/**
 * How long a TCP connection and a TLS handshake may take together, milliseconds. A request that is given up leaves its connection on the
 * way, and the next one waits for that: without an end of its own, a service that was silent for a moment would never be reached again.
 */
const connectMs = 2000;

interface Kept {
  readonly agent: Agent;
  usedAtMs: number;
}

/**
 * Connections to endpoints, kept apart by the certificate that we presented on them: a service takes whoever opened a connection for
 * the client of every request on it, so two identities never share one.
 */
export class EndpointConnections {
  readonly #guard: FindWay;
  readonly #world: World;
  #authorities: PrivateAuthorities;
  /** By thumbprint, the least recently used first; empty for connections without a certificate. */
  readonly #agents = new Map<string, Kept>();

  constructor(guard: FindWay, world: World, authorities: PrivateAuthorities) {
    this.#guard = guard;
    this.#world = world;
    this.#authorities = authorities;
  }

  /** The connections on which this certificate is presented. */
  agentFor(certificate: ClientCertificate | undefined): Agent {
    const key = certificate?.thumbprint ?? '';
    const kept = this.#agents.get(key) ?? { agent: this.#open(certificate), usedAtMs: 0 };
    kept.usedAtMs = this.#world.monotonic();
    this.#agents.delete(key);
    this.#agents.set(key, kept);
    this.#retire(kept.usedAtMs);
    return kept.agent;
  }

  /** The file with the private authorities of an origin. */
  vouchedBy({ origin }: URL): string | undefined {
    return this.#authorities.get(origin);
  }

  /** Takes the authorities of another configuration. Connections that were made with those of before serve what is under way. */
  adopt(authorities: PrivateAuthorities): void {
    if (isDeepStrictEqual(authorities, this.#authorities)) return;
    this.#authorities = authorities;
    for (const { agent } of this.#agents.values()) agent.close().catch(() => undefined);
    this.#agents.clear();
  }

  /** Closes everything; requests under way are cut. */
  async close(): Promise<void> {
    const all = [...this.#agents.values()];
    this.#agents.clear();
    await Promise.allSettled(all.map(({ agent }) => agent.destroy()));
  }

  /** Rotated certificates would add up otherwise. What is under way on them goes on to its end. */
  #retire(now: number): void {
    for (const [key, { agent, usedAtMs }] of this.#agents) {
      if (now - usedAtMs < unusedMs && this.#agents.size <= maxAgents) return;
      this.#agents.delete(key);
      agent.close().catch(() => undefined);
    }
  }

  #open(certificate: ClientCertificate | undefined): Agent {
    const connect = callbackify((options: buildConnector.Options) => this.#dial(options, certificate));
    return new Agent({
      connect: (options, done) =>
        connect(options, (error, socket) => (error === null ? done(null, socket) : done(error, null))),
      allowH2: false,
      connections: 64,
      keepAliveTimeout: 10_000,
    });
  }

  /** The guard is asked at every dial, so that a name that moves is checked where it went. */
  async #dial(options: buildConnector.Options, certificate: ClientCertificate | undefined) {
    const secure = options.protocol === 'https:';
    // Without TLS nobody would be shown the certificate, and the request would pass for that of anybody.
    if (certificate !== undefined && !secure) throw new Error('a client certificate needs TLS');
    const host = options.hostname.replace(/^\[(.*)\]$/, '$1');
    const port = options.port === '' ? (secure ? 443 : 80) : Number(options.port);
    const context = secure ? this.#contextFor(options, certificate) : undefined;
    const way = await this.#guard.find({ host, port, addresses, dial: undefined });
    const socket = this.#world.dial(way.address, way.port, way.others);
    const secured = (): TLSSocket =>
      connectTls({
        socket,
        host,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ALPNProtocols: ['http/1.1'],
        minVersion: 'TLSv1.2',
        rejectUnauthorized: true,
        secureContext: context,
      });
    return inTime(socket, secure ? secured : undefined);
  }

  /**
   * Read for each connection, so that a renewed CA file holds from the next one on. One that cannot be read, or holds no certificate,
   * lets none be made (W1).
   */
  #contextFor(options: buildConnector.Options, certificate: ClientCertificate | undefined): SecureContext {
    const { origin } = new URL(`${options.protocol}//${options.hostname}:${options.port}`);
    const file = this.#authorities.get(origin);
    const trust = file === undefined ? {} : { ca: readAuthorities(file) };
    return certificate?.contextFor(trust) ?? createSecureContext(trust);
  }
}

/** The connection when it stands, with TLS over it where that is to be. Rejects when that takes too long. */
function inTime(socket: Socket, secured: (() => TLSSocket) | undefined): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const end = (fault: unknown): void => {
    clearTimeout(timer);
    socket.destroy();
    reject(fault);
  };
  const late = Object.assign(new Error('the connection took too long'), { code: 'ETIMEDOUT' });
  const timer = setTimeout(() => end(late), connectMs);
  const stand = (connection: Socket): void => {
    clearTimeout(timer);
    // At once: what comes in one piece with the end of the handshake may be an error, and unheard it would end the process.
    connection.on('error', (error) => endAtAlert(connection, error)).removeListener('error', end);
    resolve(connection);
  };
  socket.once('error', end).once('connect', () => {
    if (secured === undefined) return stand(socket);
    try {
      // Not before: TLS over a socket that goes on to another address of the name ends the process (a fault of Node.js).
      const secure = secured();
      secure.once('error', end).once('secureConnect', () => stand(secure));
    } catch (fault) {
      end(fault);
    }
  });
  return promise;
}

/**
 * In TLS 1.3 a service refuses our certificate, or the lack of one, when the handshake is over for us: by an alert, and then the end of the
 * connection, which the library would tell in its place. What was read and not taken yet is an answer, and comes first.
 */
function endAtAlert(connection: Socket, error: Error): void {
  const isAlert = 'code' in error && typeof error.code === 'string' && error.code.startsWith('ERR_SSL_');
  if (isAlert && connection.readableLength === 0) connection.destroy();
}
