import { constants, X509Certificate } from 'node:crypto';
import type { IncomingMessage, RequestListener } from 'node:http';
import { Agent, createServer, type RequestOptions, type Server } from 'node:https';
import { Socket } from 'node:net';
import {
  connect,
  TLSSocket,
  type ConnectionOptions,
  type SecureContextOptions,
  type Server as TlsServer,
} from 'node:tls';
import type { SpiffeId } from './spiffe-id.ts';
import { chainOfPeer, checkPeerChain, checkServerBy, pemOf, type Authorize } from './svid-tls.ts';
import type { X509Bundle } from './x509-path.ts';
import type { X509Context } from './x509-svid.ts';

/** Port: our SVID and the bundles of this moment, as a Workload API or a folder gives them. */
export interface MtlsSource {
  x509(): X509Context | undefined;
  x509Bundles(): ReadonlyMap<string, X509Bundle>;
  /** The clock that SVIDs are judged by, milliseconds since the epoch. */
  now(): number;
}

/** There is no SVID to show at the moment. */
export class NoSvid extends Error {
  override readonly name = 'NoSvid';

  constructor() {
    super('there is no X509-SVID at the moment');
  }
}

/** Who is at the other end of a connection, and the bundle that this was checked with. */
interface KnownPeer {
  readonly id: SpiffeId;
  readonly bundle: X509Bundle | undefined;
  readonly untilMs: number;
}

const peers = new WeakMap<object, KnownPeer>();
/** A path is checked again after this, so that the end of a certificate or of a revocation list is noticed on open connections. */
const recheckMs = 10_000;

/** The SPIFFE ID of the client of a request that `createMtlsServer` let in. */
export function peerIdOf({ socket }: Pick<IncomingMessage, 'socket'>): SpiffeId | undefined {
  return peers.get(socket)?.id;
}

/**
 * An https server that shows our SVID of the moment and lets in clients whose SVID is good and authorised. Nobody else reaches the
 * listener. A client whose authority is taken back, or whose certificate is revoked, is cut at its next request.
 */
export function createMtlsServer(source: MtlsSource, authorize: Authorize, onRequest: RequestListener): Server {
  const server = createServer({ requestCert: true, rejectUnauthorized: true }, (request, response) => {
    if (isStillGood(request.socket, source, authorize)) onRequest(request, response);
    else request.socket.destroy();
  });
  // Before the socket is wrapped in TLS: each connection gets the SVID that is in force when it comes.
  server.prependListener('connection', keepFresh(server, source));
  // Before the server of HTTP hears of the connection: what is destroyed here is never read.
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    if (!isStillGood(socket, source, authorize)) socket.destroy();
  });
  return server;
}

/** Connects with our SVID of this moment to a server with a good and authorised SVID, under whatever host name. Throws NoSvid. */
export function connectMtls(source: MtlsSource, authorize: Authorize, place: ConnectionOptions): TLSSocket {
  return connect({ ...place, ...clientOptions(source, authorize) });
}

/** An agent for node:https whose connections are made as by `connectMtls`. Each request has its own, so each is checked. */
export function createMtlsAgent(source: MtlsSource, authorize: Authorize): Agent {
  return new MtlsAgent(source, authorize);
}

class MtlsAgent extends Agent {
  readonly #source: MtlsSource;
  readonly #authorize: Authorize;

  constructor(source: MtlsSource, authorize: Authorize) {
    // Sessions that are resumed show no certificate again.
    super({ keepAlive: false, maxCachedSessions: 0 });
    this.#source = source;
    this.#authorize = authorize;
  }

  override createConnection(options: RequestOptions, callback?: Parameters<Agent['createConnection']>[1]) {
    try {
      return super.createConnection({ ...options, ...clientOptions(this.#source, this.#authorize) }, callback);
    } catch (error) {
      // Thrown from here it would come out of `request()` itself, past the listener of `error` that callers have.
      return new Socket().destroy(error instanceof Error ? error : new NoSvid());
    }
  }
}

function clientOptions(source: MtlsSource, authorize: Authorize): ConnectionOptions {
  const bundleOf = (trustDomain: string): X509Bundle | undefined => source.x509Bundles().get(trustDomain);
  return {
    ...secretsOf(source.x509(), source.x509Bundles()),
    rejectUnauthorized: true,
    checkServerIdentity: checkServerBy(bundleOf, authorize, () => source.now()),
  };
}

/** Key, certificates and authorities of this moment. Throws NoSvid. */
function secretsOf(context: X509Context | undefined, bundles: ReadonlyMap<string, X509Bundle>): SecureContextOptions {
  const svid = context?.default;
  if (svid === undefined) throw new NoSvid();
  return {
    key: svid.privateKey().export({ type: 'pkcs8', format: 'pem' }),
    cert: svid.chain.map((der) => new X509Certificate(der).toString()).join(''),
    // Of all domains: which of them may speak for whom is checked afterwards, by the name in the certificate.
    ca: pemOf(bundles.values()),
    minVersion: 'TLSv1.2',
    allowPartialTrustChain: true,
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

function keepFresh(server: TlsServer, source: MtlsSource): () => void {
  let svid: X509Context | undefined;
  let bundles: ReadonlyMap<string, X509Bundle> | undefined;
  return () => {
    const [nowSvid, nowBundles] = [source.x509(), source.x509Bundles()];
    if (nowSvid === svid && nowBundles === bundles) return;
    [svid, bundles] = [nowSvid, nowBundles];
    // Without an SVID there is nothing to show, and the handshake fails.
    // What was asked for above, and not anew: an SVID that ends in between would be an exception that nobody catches.
    server.setSecureContext(nowSvid === undefined ? { ca: [] } : secretsOf(nowSvid, nowBundles));
  };
}

function isStillGood(socket: Socket, source: MtlsSource, authorize: Authorize): boolean {
  const known = peers.get(socket);
  const bundleOf = (trustDomain: string): X509Bundle | undefined => source.x509Bundles().get(trustDomain);
  const now = source.now();
  if (known !== undefined && now < known.untilMs && bundleOf(known.id.trustDomain) === known.bundle) return true;
  try {
    const id = checkPeerChain(socket instanceof TLSSocket ? chainOfPeer(socket) : [], bundleOf, authorize, now);
    peers.set(socket, { id, bundle: bundleOf(id.trustDomain), untilMs: now + recheckMs });
    return true;
  } catch {
    peers.delete(socket);
    return false;
  }
}
