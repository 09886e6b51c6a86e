import { Refusal } from '../refusal.ts';
import { defaultPort, parseAuthority, type Authority } from './authority.ts';
import type { HeaderList } from './header-list.ts';
import { originOf, type Origin } from './origin.ts';

/** Where a call goes, in the one normal form that policy, exchange and dial all read (W2). */
export interface Target {
  readonly origin: Origin;
  /** Origin-form target with query, byte for byte as the agent sent it (W13). */
  readonly path: string;
}

/** A call to `/tools/<name>/…` of our own listener: the destination comes from the configuration. */
export interface MountTarget {
  readonly mount: string;
  readonly path: string;
}

/** A CONNECT tunnel: where it leads, and what its TLS named. */
export interface Tunnel {
  readonly origin: Origin;
  /** TLS server name in normal form; undefined for plain HTTP and for clients that send none. */
  readonly serverName: string | undefined;
}

/** The listener's own name on one connection: mounts are called by it. */
export interface OwnName {
  readonly address: string;
  readonly port: number;
}

/** By what names a caller reached the way in. */
export interface CalledName extends OwnName {
  /** TLS server name in normal form, empty for what is no name; undefined without TLS, and for clients that send none. */
  readonly serverName: string | undefined;
}

/**
 * Reads the target of a request on the forward proxy's port: absolute-form, or a mount.
 * Every name that is there must be the same host and port (W2): two of them are how a token is sent to the wrong one.
 */
export function readProxyTarget(url: string, headers: HeaderList, own: OwnName): Target | MountTarget {
  if (url.startsWith('/')) {
    const host = readHost(headers);
    if (host === undefined || !isOwn(host, own)) throw mismatch('The Host of a mount is the name of this listener.');
    return readMount(url);
  }
  const target = readAbsolute(url);
  const host = readHost(headers);
  if (host !== undefined && !agrees(host, target.origin, defaultPort(target.origin.scheme)))
    throw mismatch('Host and the absolute URI disagree.');
  return isOwn(target.origin, own) ? readMount(target.path) : target;
}

/** Reads the target of a request inside a CONNECT tunnel: its host and port are the tunnel's, everything else has to agree. */
export function readTunnelTarget(url: string, headers: HeaderList, tunnel: Tunnel): Target {
  const host = readHost(headers);
  // A Host without port means the tunnel's port: that is what undici sends through CONNECT.
  if (host !== undefined && !agrees(host, tunnel.origin, tunnel.origin.port))
    throw mismatch('Host and the CONNECT target disagree.');
  if (tunnel.serverName !== undefined && tunnel.serverName !== tunnel.origin.host) {
    throw mismatch('The TLS server name and the CONNECT target disagree.');
  }
  if (url.startsWith('/')) {
    return { origin: tunnel.origin, path: checkedPath(url) };
  }
  const target = readAbsolute(url);
  // By what they say: the object of an origin that was forgotten meanwhile is another one.
  if (target.origin.text !== tunnel.origin.text) {
    throw mismatch('The absolute URI and the CONNECT target disagree.');
  }
  return target;
}

/**
 * Reads the target of a request on the way in: origin-form, or absolute-form of our own origin. Host names the origin, or the address
 * that was connected to, as callers beside us do.
 */
export function readOwnTarget(url: string, headers: HeaderList, origin: Origin, own: CalledName): Target {
  const { serverName } = own;
  if (serverName !== undefined && serverName !== origin.host)
    throw mismatch('The TLS server name is not the host of this service.');
  // Nearly every request names us as we name ourselves.
  if (headers.host !== origin.authority) checkOwnHost(headers, origin, own);
  if (url.startsWith('/')) return { origin, path: checkedPath(url) };
  const target = readAbsolute(url);
  // By what they say: the object of an origin may have been forgotten and made anew.
  if (target.origin.text !== origin.text) throw mismatch('The absolute URI is not of the origin of this service.');
  return { origin, path: target.path };
}

function checkOwnHost(headers: HeaderList, origin: Origin, own: OwnName): void {
  const host = readHost(headers);
  if (host !== undefined && !agrees(host, origin, defaultPort(origin.scheme)) && !isAddressOf(host, own))
    throw mismatch('Host is not the origin of this service.');
}

function readHost(headers: HeaderList): Authority | undefined {
  if (headers.host === undefined) return undefined;
  const host = parseAuthority(headers.host);
  if (host === undefined) throw new Refusal('message_malformed', 'Host is not a host name with an optional port.');
  return host;
}

function agrees(named: Authority, target: { host: string; port: number }, portIfUnnamed: number): boolean {
  return named.host === target.host && (named.port ?? portIfUnnamed) === target.port;
}

function isAddressOf(host: Authority, own: OwnName): boolean {
  return host.port === own.port && host.host === own.address;
}

/** Whether a host and port name our own listener. */
export function isOwn(host: Authority, own: OwnName): boolean {
  return (host.port ?? 80) === own.port && (host.host === own.address || host.host === 'localhost');
}

function readMount(path: string): MountTarget {
  const match = /^\/tools\/(?<name>[A-Za-z0-9._-]{1,128})(?<rest>\/.*|\?.*)?$/.exec(path);
  const name = match?.groups?.['name'];
  if (name === undefined) throw new Refusal('destination_unlisted', 'Mounts of this listener are /tools/NAME/….');
  const rest = match?.groups?.['rest'] ?? '/';
  return { mount: name, path: checkedPath(rest.startsWith('?') ? `/${rest}` : rest) };
}

/** Absolute-form (RFC 9112 3.2.2): everything up to the path names the origin. */
function readAbsolute(url: string): Target {
  const prefix = prefixOf(url);
  const path = url.slice(prefix.length);
  return { origin: readPrefix(prefix), path: checkedPath(path.startsWith('/') ? path : `/${path}`) };
}

/** The origin that an absolute-form target names, whatever else is wrong with the request; undefined where it names none. */
export function originNamedBy(url: string): Origin | undefined {
  try {
    return readPrefix(prefixOf(url));
  } catch {
    return undefined;
  }
}

function prefixOf(url: string): string {
  const slash = url.indexOf('/', 8);
  const query = url.indexOf('?', 8);
  const end = slash === -1 || (query !== -1 && query < slash) ? query : slash;
  return end === -1 ? url : url.slice(0, end);
}

const prefixes = new Map<string, Origin>();

/** `scheme://authority`, without user information: a reader that takes that for the host would dial elsewhere. */
function readPrefix(prefix: string): Origin {
  const known = prefixes.get(prefix);
  if (known !== undefined) return known;
  const match = /^(?<scheme>https?):\/\/(?<authority>[^/?#\\@]+)$/i.exec(prefix);
  const authority = parseAuthority(match?.groups?.['authority'] ?? '');
  if (authority === undefined)
    throw new Refusal('message_malformed', 'The request target is not an http or https URI.');
  const scheme = match?.groups?.['scheme']?.toLowerCase() === 'https' ? 'https' : 'http';
  const origin = originOf(scheme, authority.host, authority.port ?? defaultPort(scheme));
  // The texts are the agent's choice: a bounded memory, started anew when full.
  if (prefixes.size >= 4096) prefixes.clear();
  prefixes.set(prefix, origin);
  return origin;
}

/** Only the printable ASCII that a request line may carry; a fragment is not part of one. */
function checkedPath(path: string): string {
  if (!/^[!-"$-~]+$/.test(path))
    throw new Refusal('message_malformed', 'The request target holds characters that a URI may not have.');
  return path;
}

function mismatch(detail: string): Refusal {
  return new Refusal('authority_mismatch', detail);
}
