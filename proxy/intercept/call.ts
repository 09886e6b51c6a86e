import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { Refusal, type Way } from '../refusal.ts';
import { sidecarName } from '../tasks/handle-text.ts';
import { normalHost } from './authority.ts';
import { readHeaders, type HeaderList } from './header-list.ts';
import type { HeaderClass } from './header-names.ts';
import { originOf, type Origin } from './origin.ts';
import { readLoosePath, readRuledPath, withoutQuery } from './path.ts';
import {
  isOwn,
  originNamedBy,
  readOwnTarget,
  readProxyTarget,
  readTunnelTarget,
  type CalledName,
  type MountTarget,
  type OwnName,
  type Target,
  type Tunnel,
} from './target.ts';
import { findTool, type Tool, type ToolCatalogue } from './tool-catalogue.ts';

/** The connection that a request came on: the proxy's port itself, or a tunnel opened on it. */
export type Door =
  | { readonly kind: 'proxy'; readonly own: OwnName }
  | { readonly kind: 'tunnel'; readonly tunnel: Tunnel; readonly proxyAuthorization: string | undefined }
  | {
      readonly kind: 'inbound';
      readonly peer: PeerCertificate | undefined;
      readonly called: CalledName;
    };

/** The certificate that a caller showed in its TLS handshake, not yet judged: leaf first, DER. */
export interface PeerCertificate {
  readonly chain: readonly Buffer[];
}

/** One intercepted request, read once into one normal form. The first evidence of the way out. */
class InterceptedCall {
  readonly #made = true;
  /** Names the call in answers, events and logs. */
  readonly id: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly way: Way;
  readonly door: Door['kind'] | 'mount';
  readonly target: Target;
  readonly tool: Tool;
  readonly method: string;
  /** The path as it came, without query: what proofs and events name. */
  readonly rawPath: string;
  /** The path that rules read: decoded once, without query. */
  readonly path: string;
  readonly headers: HeaderList;
  readonly proxyAuthorization: string | undefined;
  /** On the way in, what the caller showed in its TLS handshake. */
  readonly peer: PeerCertificate | undefined;
  /** Monotonic milliseconds at which the call was read. */
  readonly startedAt: number;

  constructor(arrival: Arrival, headers: HeaderList, target: Target, tool: Tool, path: string, onMount: boolean) {
    const { door } = arrival;
    this.id = arrival.id;
    this.request = arrival.request;
    this.response = arrival.response;
    this.startedAt = arrival.startedAt;
    this.way = door.kind === 'inbound' ? 'in' : 'out';
    this.door = onMount ? 'mount' : door.kind;
    this.method = arrival.request.method ?? '';
    this.headers = headers;
    this.target = target;
    this.tool = tool;
    this.path = path;
    this.rawPath = withoutQuery(target.path);
    this.peer = door.kind === 'inbound' ? door.peer : undefined;
    this.proxyAuthorization = door.kind === 'tunnel' ? door.proxyAuthorization : headers.proxyAuthorization;
  }

  /** Only this file makes calls: the private field keeps look-alikes out at compile time and here at run time. */
  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Call = InterceptedCall;

/** What reading a request needs to know of the configuration. */
export interface Reader {
  readonly catalogue: ToolCatalogue;
  readonly classOfName: (name: string) => HeaderClass;
  /** Our name in `Via`: a request that carries it has been here before. */
  readonly pseudonym: string;
  /** Whether rules or patterns read the path of calls to any of these tools. */
  readonly rulesPath: (tools: readonly Tool[]) => boolean;
}

/** What is known of a request before it became a call: for the record of a refusal. */
export interface Arrival {
  readonly id: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly door: Door;
  readonly startedAt: number;
  /** Filled in while the request is read, so that the record of a refusal can say where it was meant to go. */
  seen: Origin | undefined;
}

/** Where a request that did not become a call was meant to go, as far as it was read. Without path: it was not checked. */
export function seenTarget({ seen, request, door }: Arrival) {
  const origin = seen ?? namedOrigin(request.url ?? '', door);
  if (origin === undefined) return undefined;
  return { method: request.method ?? '', scheme: origin.scheme, host: origin.host, port: origin.port };
}

/** What a request names that was refused before all of its names were compared. A mount names a tool, and no origin. */
function namedOrigin(url: string, door: Door): Origin | undefined {
  if (door.kind === 'tunnel') return door.tunnel.origin;
  const named = door.kind === 'proxy' ? originNamedBy(url) : undefined;
  return named === undefined || (door.kind === 'proxy' && isOwn(named, door.own)) ? undefined : named;
}

/**
 * Reads a request into a call, or refuses it. Nothing has been asked of anybody before this returns: a request that two readers could
 * understand differently never reaches a token service.
 */
export function intercept(arrival: Arrival, reader: Reader): Call {
  const { request, door } = arrival;
  const headers = readHeaders(request.rawHeaders, reader.classOfName);
  refuseVersionMisuse(request, headers);
  if (headers.via?.includes(reader.pseudonym) === true) throw new Refusal('proxy_loop');
  const url = request.url ?? '';
  const found = readTarget(url, headers, door);
  const onMount = 'mount' in found;
  if (onMount) refusePages(headers);
  if (!onMount) arrival.seen = found.origin;
  const target = onMount ? mountTarget(found, reader.catalogue) : found;
  // Of a mount too: the named tool alone would open the paths and methods of a narrower one at its origin, past that one's rules (W9).
  const candidates = reader.catalogue.at(target.origin.host, target.origin.port);
  const method = request.method ?? '';
  const path = readPath(target.path, candidates, reader);
  const listed = findTool(candidates, method, path);
  if (listed === undefined) throw unlisted(target, candidates, method);
  const tool = onMount ? mounted(found.mount, listed, candidates, method) : listed;
  return new InterceptedCall(arrival, headers, target, tool, path, onMount);
}

function readTarget(url: string, headers: HeaderList, door: Door): Target | MountTarget {
  switch (door.kind) {
    case 'proxy':
      return readProxyTarget(url, headers, door.own);
    case 'tunnel':
      return readTunnelTarget(url, headers, door.tunnel);
    default:
      throw new Error('a request of the way in on the way out');
  }
}

function refuseVersionMisuse(request: IncomingMessage, headers: HeaderList): void {
  const { httpVersionMajor: major, httpVersionMinor: minor } = request;
  // The parser takes a request line without version for HTTP/0.9, with headers that 0.9 never had.
  if (major !== 1) throw new Refusal('message_malformed', 'Only HTTP/1.0 and HTTP/1.1 are served here.');
  if (minor === 0 && headers.chunked) throw new Refusal('message_malformed', 'HTTP/1.0 has no Transfer-Encoding.');
  if (minor > 0 && headers.host === undefined) throw new Refusal('message_malformed', 'HTTP/1.1 needs one Host.');
}

function readPath(path: string, candidates: readonly Tool[], reader: Reader): string {
  const raw = candidates.length > 0 && candidates.every((tool) => tool.settings.unsafe_raw_paths);
  return !raw && reader.rulesPath(candidates) ? readRuledPath(path) : readLoosePath(path);
}

function mountTarget(found: MountTarget, catalogue: ToolCatalogue): Target {
  const tool = catalogue.named(found.mount);
  if (tool === undefined || tool.host === '' || tool.host.startsWith('.') || tool.host === sidecarName)
    throw new Refusal('destination_unlisted', 'No tool of that name can be mounted.');
  return { origin: originOf(tool.mount.scheme, tool.host, tool.mount.port), path: found.path };
}

/**
 * Any page in a browser on this machine can reach our port, and a call that names no task would be one of the agent itself. Scripts and
 * forms that send cannot hide their Origin; images, scripts and links come without one, and are told by `Sec-Fetch-Site`, which no page
 * can set. `same-origin` is a page too: one that a tool answered with on its mount. `none` is a person at the address bar.
 */
function refusePages({ origin, fetchSite }: HeaderList): void {
  if (origin !== undefined) throw new Refusal('header_forbidden', 'Origin is not accepted on mounts.');
  if (fetchSite !== undefined && fetchSite !== 'none')
    throw new Refusal('header_forbidden', 'Sec-Fetch-Site of a page is not accepted on mounts.');
}

/** The tool that a mount names, where the call is its own. Of two that match the very same calls, as with two accounts at one host, it is either's. */
function mounted(mount: string, listed: Tool, candidates: readonly Tool[], method: string): Tool {
  if (listed.name === mount) return listed;
  const named = candidates.find(({ name }) => name === mount);
  if (named !== undefined && isDeepStrictEqual(named.settings.match, listed.settings.match)) return named;
  const detail = `${method} on this path is a call of the tool ${listed.name}, and the mount is of ${mount}.`;
  throw new Refusal('destination_unlisted', detail);
}

function unlisted(target: Target, candidates: readonly Tool[], method: string): Refusal {
  const name = target.origin.authority;
  const detail =
    candidates.length === 0
      ? `No tool is listed at ${name}.`
      : `No tool at ${name} takes ${method} on this path (tools: ${candidates.map((tool) => tool.name).join(', ')}).`;
  return new Refusal('destination_unlisted', detail);
}

/** Address and port that a connection came to. A listener for both families sees IPv4 in the form of IPv6. */
export function ownName({ localAddress = '', localPort = 0 }: Socket): OwnName {
  return { address: normalHost(localAddress.replace(/^::ffff:(?=\d+\.)/, '')) ?? '', port: localPort };
}

/** What reading a request of the way in needs to know. */
export interface InboundReader {
  readonly classOfName: (name: string) => HeaderClass;
  readonly pseudonym: string;
  readonly rulesPath: boolean;
  /** `inbound.origin`: what callers call us by. */
  readonly origin: Origin;
  /** The program behind us, as a destination. */
  readonly program: Tool;
}

/**
 * Reads a request of the way in, by the same rules. Every name in it is that of our own origin (W2): a request for another host that
 * was led here is refused before its token is looked at.
 */
export function interceptInbound(arrival: Arrival, reader: InboundReader): Call {
  const { request, door } = arrival;
  // Wherever it was meant to go, it came to us.
  arrival.seen = reader.origin;
  const headers = readHeaders(request.rawHeaders, reader.classOfName);
  refuseVersionMisuse(request, headers);
  if (headers.via?.includes(reader.pseudonym) === true) throw new Refusal('proxy_loop');
  if (door.kind !== 'inbound') throw new Error('a request of the way out on the way in');
  const target = readOwnTarget(request.url ?? '', headers, reader.origin, door.called);
  const path = reader.rulesPath ? readRuledPath(target.path) : readLoosePath(target.path);
  return new InterceptedCall(arrival, headers, target, reader.program, path, false);
}
