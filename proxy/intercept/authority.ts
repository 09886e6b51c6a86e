import { isIPv4, isIPv6 } from 'node:net';

/** A host in its one normal form (lower case, no trailing dot, IPv6 without brackets and compressed) and a port if one was named. */
export interface Authority {
  readonly host: string;
  readonly port: number | undefined;
}

/** Characters of a host of 254 and a port. */
const maxText = 260;
/** Texts whose reading is remembered. */
const maxKnown = 4096;

const known = new Map<string, Authority | undefined>();

/** Parses `host[:port]` as in Host, CONNECT and URIs. Undefined for anything that two readers could take for different hosts. */
export function parseAuthority(text: string): Authority | undefined {
  // The texts are the agent's choice: the memory of them is bounded, in each and in number, and started anew when full.
  if (text.length > maxText) return undefined;
  if (known.has(text)) return known.get(text);
  const parsed = parse(text);
  if (known.size >= maxKnown) known.clear();
  known.set(text, parsed);
  return parsed;
}

function parse(text: string): Authority | undefined {
  const match = /^(?<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,254})(?::(?<port>\d{1,5}))?$/.exec(text);
  const host = normalHost(match?.groups?.['host'] ?? '');
  const named = match?.groups?.['port'];
  const port = named === undefined ? undefined : Number(named);
  if (host === undefined || port === 0 || (port ?? 1) > 65_535) return undefined;
  return { host, port };
}

/**
 * The one normal form of a host name or address. Undefined for spellings that a resolver could read otherwise: numeric hosts that are
 * not dotted quads (`0x7f.1`, `2130706433`), empty labels, zone ids.
 */
export function normalHost(text: string): string | undefined {
  if (text.startsWith('[')) return normalAddress(text.slice(1, -1));
  if (text.includes(':')) return normalAddress(text);
  const name = (text.endsWith('.') ? text.slice(0, -1) : text).toLowerCase();
  if (isIPv4(name)) return name;
  const labels = name.split('.');
  if (labels.some((label) => label === '' || label.length > 63)) return undefined;
  // The URL standard reads a host whose last label is a number as an IPv4 address, in octal and hex too.
  if (/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '')) return undefined;
  return name;
}

function normalAddress(text: string): string | undefined {
  if (!isIPv6(text) || text.includes('%')) return undefined;
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}

/** `host:port` for people and headers; IPv6 in brackets. The default port of the scheme is left out. */
export function formatAuthority(host: string, port: number, scheme: 'http' | 'https'): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === defaultPort(scheme) ? name : `${name}:${port}`;
}

export function defaultPort(scheme: 'http' | 'https'): number {
  return scheme === 'https' ? 443 : 80;
}

/** `address:port` of a listener, IPv6 in brackets. */
export function formatAddress(address: string, port: number): string {
  return `${address.includes(':') ? `[${address}]` : address}:${port}`;
}
