import { isIPv4, isIPv6 } from 'node:net';
import { z } from 'zod';

/** An IP address (IPv6 without brackets) and a port, as `listen` and `dial` of node:net take them. */
export interface IpPort {
  readonly address: string;
  readonly port: number;
}

/** Reads `127.0.0.1:15001` or `[::1]:15001`, in one form. Undefined for names, missing ports and ports above 65535. */
export function parseIpPort(text: string): IpPort | undefined {
  const match = /^(?:\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<v4>[0-9.]+)):(?<port>\d{1,5})$/.exec(text);
  const v4 = match?.groups?.['v4'];
  const v6 = match?.groups?.['v6'];
  const port = Number(match?.groups?.['port']);
  if (!(port <= 65_535)) return undefined;
  if (v4 !== undefined && isIPv4(v4)) return { address: v4, port };
  if (v6 !== undefined && isIPv6(v6)) return { address: normalV6(v6), port };
  return undefined;
}

/** One form of one address, so that two that meet are seen to: short and in small letters, and IPv4 where it stands for that. */
function normalV6(text: string): string {
  const address = new URL(`http://[${text}]/`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address) ?? [];
  if (high === undefined || low === undefined) return address;
  const bytes = Buffer.from(high.padStart(4, '0') + low.padStart(4, '0'), 'hex');
  return bytes.join('.');
}

/** Whether nothing outside this machine (or pod) can reach the address. */
export function isLoopbackAddress(address: string): boolean {
  return isIPv4(address) ? address.startsWith('127.') : address === '::1';
}

// A name could be made to point elsewhere after the check; an address cannot.
const shape = 'must be an IP address and a port, such as 127.0.0.1:8443 or [::1]:8443; names are not looked up here';

/** A place to listen at; port 0 takes any free one. */
export const listenAddress = z
  .string()
  .refine((text) => parseIpPort(text) !== undefined, { error: shape })
  .transform((text) => parseIpPort(text) ?? { address: '', port: 0 });

/** A place to connect to: as above, but port 0 means nothing. */
export const dialAddress = z
  .string()
  .refine((text) => (parseIpPort(text)?.port ?? 0) > 0, { error: shape })
  .transform((text) => parseIpPort(text) ?? { address: '', port: 0 });

/** A DNS server, kept as text for `Resolver.setServers`; without a port it is 53. */
export const dnsServer = z
  .string()
  .refine((text) => isIPv4(text) || isIPv6(text) || (parseIpPort(text)?.port ?? 0) > 0, {
    error: 'must be the IP address of a DNS server, with a port if it is not 53, such as 127.0.0.1:5353',
  });
