import { constants } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import { createServer as createRawServer, type Socket } from 'node:net';
import { createSecureContext, TLSSocket, type DetailedPeerCertificate, type SecureContext } from 'node:tls';
import { Refusal } from '../refusal.ts';
import { normalHost } from './authority.ts';
import { ownName, type Door, type PeerCertificate } from './call.ts';
import {
  hearBrokenRequests,
  hearRequests,
  httpServer,
  type Hearers,
  type Listener,
  type TurnedAway,
} from './listener.ts';
import { afterAnswers, hearBehindConnect } from './owed-answers.ts';
import { closeServer, followSilent } from './stop.ts';
import { handshakeFault } from './tunnel.ts';
import { isClosing, refusalBytes, renderRefusal } from './answer.ts';

/** Our own certificate for callers: the X.509-SVID of this moment. PEM. */
export interface ServerIdentity {
  readonly certificates: string;
  readonly key: string;
}

/** How callers connect. */
export interface InboundTransport {
  readonly host: string;
  readonly port: number;
  /** Whether callers on this machine may come without TLS, and all others too. */
  readonly plain: 'never' | 'loopback' | 'always';
  readonly clientCertificates: 'require' | 'accept' | 'off';
  /** Undefined while there is no SVID: TLS callers are cut then. */
  readonly identity: () => ServerIdentity | undefined;
}

/** How long a caller may take to its first byte and through its handshake, milliseconds. */
const openingMs = 20_000;

/** Opens the way in's port: TLS with our SVID, or plain HTTP where that is allowed. The first byte tells which. */
export async function openInboundListener(transport: InboundTransport, hearers: Hearers): Promise<Listener> {
  const doors = new WeakMap<Socket, Door>();
  const sockets = new Set<Socket>();
  const http = httpServer();
  hearRequests(http, doors, hearers);
  hearBrokenRequests(http, hearers);
  refuseConnect(http, hearers);
  // It gets its connections from us and never listens; this starts the watch over its header time-outs all the same.
  http.emit('listening');
  const contexts = new ContextOfSvid(transport.identity);
  const server = createRawServer({ noDelay: true, keepAlive: true }, (socket) => {
    sockets.add(socket);
    followSilent(http, socket, 0);
    const opening = setTimeout(() => socket.destroy(), openingMs);
    socket.once('close', () => {
      clearTimeout(opening);
      sockets.delete(socket);
    });
    socket.on('error', () => socket.destroy());
    const accept = (inner: Socket, peer: PeerCertificate | undefined, serverName: string | undefined): void => {
      clearTimeout(opening);
      doors.set(inner, { kind: 'inbound', peer, called: { ...ownName(socket), serverName } });
      http.emit('connection', inner);
    };
    const turnAway: TurnAway = (code, cause) => {
      hearers.onTurnedAway({ code, cause, peer: socket.remoteAddress });
      socket.destroy();
    };
    socket.once('data', (first: Buffer) => {
      socket.pause();
      socket.unshift(first);
      if (first[0] === 0x16) terminateTls(socket, contexts, transport, { accept, turnAway });
      else if (mayBePlain(socket, transport)) {
        accept(socket, undefined, undefined);
        socket.resume();
      } else turnAway('message_malformed', 'no_tls');
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(transport.port, transport.host, resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the listener has no address');
  return {
    address: bound.address,
    port: bound.port,
    close: (graceMs) => closeServer(http, server, sockets, graceMs),
  };
}

function mayBePlain(socket: Socket, { plain }: InboundTransport): boolean {
  if (plain !== 'loopback') return plain === 'always';
  const { remoteAddress = '' } = socket;
  return /^(?:::ffff:)?127\./.test(remoteAddress) || remoteAddress === '::1';
}

/** The TLS context of the SVID in force. New connections get the new one; old ones go on with what they began with. */
class ContextOfSvid {
  readonly #identity: InboundTransport['identity'];
  #certificates = '';
  #context: SecureContext | undefined;

  constructor(identity: InboundTransport['identity']) {
    this.#identity = identity;
  }

  current(): SecureContext | undefined {
    const identity = this.#identity();
    if (identity === undefined) return undefined;
    // The whole text: a serial number tells apart the certificates of one authority only.
    if (identity.certificates !== this.#certificates || this.#context === undefined) {
      // No tickets: a resumed session would not show the chain of the caller's certificate again.
      this.#context = createSecureContext({
        key: identity.key,
        cert: identity.certificates,
        minVersion: 'TLSv1.2',
        secureOptions: constants.SSL_OP_NO_TICKET,
      });
      this.#certificates = identity.certificates;
    }
    return this.#context;
  }
}

type TurnAway = (code: TurnedAway['code'], cause: string) => void;

/** What comes of a TLS handshake. */
interface Outcomes {
  readonly accept: (inner: TLSSocket, peer: PeerCertificate | undefined, serverName: string | undefined) => void;
  readonly turnAway: TurnAway;
}

/** As OpenSSL names it, and proxies that use it in their logs. */
const noCertificate = 'peer_did_not_return_a_certificate';

function terminateTls(
  socket: Socket,
  contexts: ContextOfSvid,
  transport: InboundTransport,
  { accept, turnAway }: Outcomes,
): void {
  const secureContext = contexts.current();
  if (secureContext === undefined) {
    // Where TLS is not served, whoever tries it has lost nothing.
    turnAway(transport.plain === 'never' ? 'identity_unavailable' : 'message_malformed', 'no_svid');
    return;
  }
  const mustShow = transport.clientCertificates === 'require';
  const inner = new TLSSocket(socket, {
    isServer: true,
    secureContext,
    ALPNProtocols: ['http/1.1'],
    requestCert: transport.clientCertificates !== 'off',
    // Has OpenSSL end a handshake without a certificate by an alert that says so; here it does no more than that. The caller's is an
    // SVID: it is judged by our own check against its trust domain, for each request, and not by the rules of the Web PKI. Nothing is
    // let through by its mere presence.
    rejectUnauthorized: mustShow,
  });
  let isOpen = false;
  inner.on('error', (error) => {
    const cause = handshakeFault(error);
    // A caller that went away was not refused.
    if (isOpen || cause === undefined) socket.destroy();
    else turnAway(cause === noCertificate ? 'caller_not_allowed' : 'message_malformed', cause);
  });
  inner.once('secure', () => {
    isOpen = true;
    const peer = readPeer(inner);
    if (peer === undefined && mustShow) turnAway('caller_not_allowed', noCertificate);
    // Undefined or false where the client sent none.
    else accept(inner, peer, typeof inner.servername === 'string' ? (normalHost(inner.servername) ?? '') : undefined);
  });
}

function readPeer(inner: TLSSocket): PeerCertificate | undefined {
  const chain: Buffer[] = [];
  let at: DetailedPeerCertificate | undefined = inner.getPeerCertificate(true);
  // Node links a root to itself, and gives an empty object where there is no certificate.
  while (at?.raw !== undefined && chain.length < 10 && chain.at(-1)?.equals(at.raw) !== true) {
    chain.push(at.raw);
    at = at.issuerCertificate;
  }
  return chain.length === 0 ? undefined : { chain };
}

/** The way in is an origin and no proxy. */
function refuseConnect(server: Server, hearers: Hearers): void {
  server.on('connect', (_request: IncomingMessage, socket: Socket) => {
    const id = hearers.nextCallId();
    const refusal = new Refusal('message_malformed', 'CONNECT is not served here.');
    hearers.onRefused(id, refusal, undefined, false);
    hearBehindConnect(socket);
    // Ours in the middle of an answer under way would be read as a part of it.
    afterAnswers(socket, () => {
      if (!isClosing(socket)) socket.end(refusalBytes(renderRefusal(refusal, id, false), true), () => socket.destroy());
    });
  });
}
