import { isIPv4, isIPv6 } from 'node:net';

/** What kind of place an address is. `forbidden` is never dialled, whatever a tool's `addresses` say. */
export type AddressClass = 'public' | 'private' | 'loopback' | 'forbidden';

type Range = readonly [prefix: bigint, bits: number, kind: AddressClass];

const range4 = (prefix: string, bits: number, kind: AddressClass): Range => [parse4(prefix), bits, kind];
const range6 = (prefix: string, bits: number, kind: AddressClass): Range => [parse6(prefix), bits, kind];

/** The first range that holds the address decides. Sources: the IANA special-purpose registries, and the clouds' metadata services. */
const ranges4: readonly Range[] = [
  range4('168.63.129.16', 32, 'forbidden'), // Azure WireServer
  range4('100.100.100.200', 32, 'forbidden'), // Alibaba Cloud metadata
  range4('0.0.0.0', 8, 'forbidden'), // "this host": reaches loopback on Linux
  range4('10.0.0.0', 8, 'private'),
  range4('100.64.0.0', 10, 'private'), // shared address space, used for pods
  range4('127.0.0.0', 8, 'loopback'),
  range4('169.254.0.0', 16, 'forbidden'), // link-local, and metadata of most clouds
  range4('172.16.0.0', 12, 'private'),
  range4('192.0.0.0', 24, 'forbidden'), // IETF protocol assignments; Oracle Cloud metadata
  range4('192.0.2.0', 24, 'forbidden'),
  range4('192.88.99.0', 24, 'forbidden'), // 6to4 relays
  range4('192.168.0.0', 16, 'private'),
  range4('198.18.0.0', 15, 'forbidden'), // benchmarking
  range4('224.0.0.0', 3, 'forbidden'), // multicast, reserved, broadcast
  range4('0.0.0.0', 0, 'public'),
];

const ranges6: readonly Range[] = [
  range6('::1', 128, 'loopback'),
  range6('::', 96, 'forbidden'), // unspecified, and IPv4-compatible
  range6('64:ff9b:1::', 48, 'forbidden'), // local-use translation
  range6('100::', 64, 'forbidden'), // discard
  range6('2001::', 23, 'forbidden'), // Teredo, ORCHID and other protocol assignments
  range6('2001:db8::', 32, 'forbidden'), // documentation
  range6('2002::', 16, 'forbidden'), // 6to4 can carry any IPv4 address
  range6('3fff::', 20, 'forbidden'), // documentation
  range6('2000::', 3, 'public'),
  range6('fd00:ec2::', 32, 'forbidden'), // AWS metadata
  range6('fd20:ce::', 32, 'forbidden'), // Google Cloud metadata
  range6('fc00::', 7, 'private'),
  range6('::', 0, 'forbidden'), // the rest: link-local, multicast, site-local, SRv6, not assigned
];

const mapped = parse6('::ffff:0:0');
/** IPv6 forms that carry an IPv4 address: it decides, because a translator would dial it. */
const carriers: readonly (readonly [prefix: bigint, bits: number])[] = [
  [mapped, 96], // IPv4-mapped
  [parse6('::ffff:0:0:0'), 96], // SIIT
  [parse6('64:ff9b::'), 96], // NAT64
];

/** The class of an IP address in any standard spelling; `forbidden` for text that is no address. */
export function classifyAddress(address: string): AddressClass {
  if (isIPv4(address)) return find(ranges4, parse4(address), 32);
  if (!isIPv6(address) || address.includes('%')) return 'forbidden';
  const value = parse6(address);
  if (carries4(value)) return find(ranges4, value & 0xffff_ffffn, 32);
  // ISATAP hides an IPv4 address in the interface id of any prefix.
  if (((value >> 32n) & 0xfdff_ffffn) === 0x5efen) return 'forbidden';
  return find(ranges6, value, 128);
}

/**
 * One value for all spellings of an address, with an IPv6 form that carries an IPv4 address counted as that; undefined for text that is no
 * address. Whoever compares texts takes `::ffff:10.0.0.1` for another place than `10.0.0.1`.
 */
export function addressValue(address: string): bigint | undefined {
  if (isIPv4(address)) return mapped | parse4(address);
  if (!isIPv6(address) || address.includes('%')) return undefined;
  const value = parse6(address);
  return carries4(value) ? mapped | (value & 0xffff_ffffn) : value;
}

function carries4(value: bigint): boolean {
  return carriers.some(([prefix, bits]) => inRange(value, prefix, bits, 128));
}

function find(ranges: readonly Range[], value: bigint, width: number): AddressClass {
  return ranges.find(([prefix, bits]) => inRange(value, prefix, bits, width))?.[2] ?? 'forbidden';
}

function inRange(value: bigint, prefix: bigint, bits: number, width: number): boolean {
  const shift = BigInt(width - bits);
  return value >> shift === prefix >> shift;
}

function parse4(text: string): bigint {
  return text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function parse6(text: string): bigint {
  const dotted = /^(?<head>.*:)(?<v4>\d+\.\d+\.\d+\.\d+)$/.exec(text)?.groups;
  const v4 = dotted === undefined ? 0n : parse4(dotted['v4'] ?? '');
  const plain =
    dotted === undefined ? text : `${dotted['head']}${(v4 >> 16n).toString(16)}:${(v4 & 0xffffn).toString(16)}`;
  const [head = '', tail] = plain.split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array<string>(8 - front.length - back.length).fill('0');
  return [...front, ...zeros, ...back].reduce((value, part) => (value << 16n) | BigInt(`0x${part}`), 0n);
}
