import { Refusal } from '../refusal.ts';
import { defaultPort, parseAuthority, type Authority } from './authority.ts';
import type { HeaderList } from './header-list.ts';

/** Where a call goes, in the one normal form that policy, exchange and dial all read (W2). */
export interface Target {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
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
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** TLS server name in normal form; undefined for plain HTTP and for clients that send none. */
  readonly serverName: string | undefined;
}

/** The listener's own name on one connection: mounts are called by it. */
export interface OwnName {
  readonly address: string;
  readonly port: number;
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
  if (host !== undefined && !agrees(host, target, defaultPort(target.scheme)))
    throw mismatch('Host and the absolute URI disagree.');
  return isOwn(target, own) ? readMount(target.path) : target;
}

/** Reads the target of a request inside a CONNECT tunnel: its host and port are the tunnel's, everything else has to agree. */
export function readTunnelTarget(url: string, headers: HeaderList, tunnel: Tunnel): Target {
  const host = readHost(headers);
  // A Host without port means the tunnel's port: that is what undici sends through CONNECT.
  if (host !== undefined && !agrees(host, tunnel, tunnel.port)) throw mismatch('Host and the CONNECT target disagree.');
  if (tunnel.serverName !== undefined && tunnel.serverName !== tunnel.host) {
    throw mismatch('The TLS server name and the CONNECT target disagree.');
  }
  if (url.startsWith('/')) {
    return { scheme: tunnel.scheme, host: tunnel.host, port: tunnel.port, path: checkedPath(url) };
  }
  const target = readAbsolute(url);
  if (target.scheme !== tunnel.scheme || !agrees(target, tunnel, tunnel.port)) {
    throw mismatch('The absolute URI and the CONNECT target disagree.');
  }
  return target;
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

function isOwn(host: Authority, own: OwnName): boolean {
  return (host.port ?? 80) === own.port && (host.host === own.address || host.host === 'localhost');
}

function readMount(path: string): MountTarget {
  const match = /^\/tools\/(?<name>[A-Za-z0-9._-]{1,128})(?<rest>\/.*|\?.*)?$/.exec(path);
  const name = match?.groups?.['name'];
  if (name === undefined) throw new Refusal('destination_unlisted', 'Mounts of this listener are /tools/NAME/….');
  const rest = match?.groups?.['rest'] ?? '/';
  return { mount: name, path: checkedPath(rest.startsWith('?') ? `/${rest}` : rest) };
}

/** Absolute-form (RFC 9112 3.2.2), without user information: a reader that takes it for the host would dial elsewhere. */
function readAbsolute(url: string): Target {
  const match = /^(?<scheme>https?):\/\/(?<authority>[^/?#\\@]+)(?<path>[/?].*)?$/i.exec(url);
  const authority = parseAuthority(match?.groups?.['authority'] ?? '');
  if (match === null || authority === undefined)
    throw new Refusal('message_malformed', 'The request target is not an http or https URI.');
  const scheme = match.groups?.['scheme']?.toLowerCase() === 'https' ? 'https' : 'http';
  const path = match.groups?.['path'] ?? '/';
  return {
    scheme,
    host: authority.host,
    port: authority.port ?? defaultPort(scheme),
    path: checkedPath(path.startsWith('?') ? `/${path}` : path),
  };
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
