import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket, type SecureContext } from 'node:tls';
import { callbackify } from 'node:util';
import { Refusal } from '../refusal.ts';
import { parseAuthority, normalHost } from './authority.ts';
import { readHeaders } from './header-list.ts';
import type { HeaderClass } from './header-names.ts';
import { originOf } from './origin.ts';
import { leadsToUs } from './own-documents.ts';
import type { PodCa } from './pod-ca.ts';
import type { Tool, ToolCatalogue } from './tool-catalogue.ts';
import type { Tunnel } from './target.ts';

/** A CONNECT request, read and found acceptable: where the tunnel leads. */
export interface ConnectRequest {
  readonly host: string;
  readonly port: number;
  readonly tools: readonly Tool[];
  readonly proxyAuthorization: string | undefined;
  readonly userAgent: string;
  readonly socket: Socket;
}

/** Where a CONNECT leads, whatever else is wrong with it; undefined for what is no host and port. */
export function connectTarget({ url = '' }: IncomingMessage): { host: string; port: number } | undefined {
  const target = parseAuthority(url);
  return target?.port === undefined ? undefined : { host: target.host, port: target.port };
}

/** Reads a CONNECT request (RFC 9110 9.3.6). Refuses bodies, disagreeing hosts and unlisted destinations before anything is opened. */
export function readConnect(
  request: IncomingMessage,
  catalogue: ToolCatalogue,
  classOfName: (name: string) => HeaderClass,
): ConnectRequest {
  const headers = readHeaders(request.rawHeaders, classOfName);
  if (headers.chunked || headers.contentLength !== undefined)
    throw new Refusal('message_malformed', 'CONNECT has no body.');
  const target = connectTarget(request);
  if (target === undefined) throw new Refusal('message_malformed', 'CONNECT needs a target of the form host:port.');
  if (headers.host !== undefined) {
    const host = parseAuthority(headers.host);
    if (host === undefined) throw new Refusal('message_malformed', 'Host is not a host name with an optional port.');
    if (host.host !== target.host || (host.port ?? target.port) !== target.port) {
      throw new Refusal('authority_mismatch', 'Host and the CONNECT target disagree.');
    }
  }
  const tools = catalogue.at(target.host, target.port);
  if (tools.length === 0 && !leadsToUs(target))
    throw new Refusal('destination_unlisted', `No tool is listed at ${target.host}:${target.port}.`);
  return {
    host: target.host,
    port: target.port,
    tools,
    proxyAuthorization: headers.proxyAuthorization,
    userAgent: request.headers['user-agent'] ?? '',
    socket: request.socket,
  };
}

/** How long a client may take from "200" to its first byte and through its TLS handshake, milliseconds. */
const openingMs = 60_000;

/** What comes of a tunnel. */
interface TunnelOutcomes {
  readonly accept: (inner: Socket, tunnel: Tunnel) => void;
  /** The TLS handshake in it failed. @param cause as OpenSSL names it, such as `tlsv1_alert_unknown_ca`: never a text of the client. */
  readonly onFailed: (cause: string) => void;
}

/**
 * Looks at the first byte inside a tunnel: a TLS record is terminated with a leaf of the pod's CA, anything else is plain HTTP (Node 24's
 * fetch sends that for http:// URLs). `accept` gets the connection that HTTP/1.1 is read from; HTTP/2 would be told apart here by ALPN.
 */
export function openTunnel(
  socket: Socket,
  head: Buffer,
  connect: ConnectRequest,
  ca: PodCa,
  { accept, onFailed }: TunnelOutcomes,
): void {
  const opening = setTimeout(() => socket.destroy(), openingMs);
  socket.once('close', () => clearTimeout(opening));
  // A server of HTTP lets its clients say their last before it does. Nothing is owed here: without this, each would be held for the whole time.
  const leave = (): void => void socket.destroy();
  socket.once('end', leave);
  const begin = (first: Buffer): void => {
    socket.pause();
    socket.unshift(first);
    if (first[0] !== 0x16) {
      clearTimeout(opening);
      socket.off('end', leave);
      accept(socket, { origin: originOf('http', connect.host, connect.port), serverName: undefined });
      socket.resume();
      return;
    }
    const secured = (inner: TLSSocket, serverName: string | undefined): void => {
      clearTimeout(opening);
      socket.off('end', leave);
      accept(inner, { origin: originOf('https', connect.host, connect.port), serverName });
    };
    terminateTls(socket, connect, ca, secured, onFailed);
  };
  if (head.length > 0) begin(head);
  else socket.once('data', begin);
}

function terminateTls(
  socket: Socket,
  connect: ConnectRequest,
  ca: PodCa,
  accept: (inner: TLSSocket, serverName: string | undefined) => void,
  onFailed: (cause: string) => void,
): void {
  const begin = async (): Promise<void> => {
    const secureContext = await ca.contextFor(connect.host);
    // The leaf names what the client asked for, so that a client whose names disagree gets our refusal and not a TLS failure.
    const choose = async (name: string): Promise<SecureContext> => ca.contextFor(normalHost(name) ?? connect.host);
    const inner = new TLSSocket(socket, {
      isServer: true,
      secureContext,
      ALPNProtocols: ['http/1.1'],
      SNICallback: callbackify(choose),
    });
    let isOpen = false;
    inner.once('secure', () => {
      isOpen = true;
      accept(inner, serverNameOf(inner));
    });
    inner.once('end', () => {
      if (!isOpen) socket.destroy();
    });
    inner.on('error', (error) => {
      const cause = handshakeFault(error);
      if (!isOpen && cause !== undefined) onFailed(cause);
      socket.destroy();
    });
  };
  begin().catch(() => socket.destroy());
}

/** What OpenSSL says of a handshake; undefined where the other side only went away. */
export function handshakeFault({ code = '' }: NodeJS.ErrnoException): string | undefined {
  // Of newer versions, as `ssl/tls_alert_bad_certificate`.
  return /^ERR_SSL_(?<reason>[\w/]+)$/.exec(code)?.groups?.['reason']?.toLowerCase().replaceAll('/', '_');
}

/** The server name in normal form. A name that has none stays as it came: it will agree with nothing. */
function serverNameOf(inner: TLSSocket): string | undefined {
  const { servername } = inner as TLSSocket & { servername?: unknown };
  return typeof servername === 'string' && servername !== '' ? (normalHost(servername) ?? servername) : undefined;
}
