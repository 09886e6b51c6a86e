import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { endianness } from 'node:os';

/** Whether this system tells which user, and which process, a connection of its own belongs to. */
export const peersAreTold = process.platform === 'linux';

/** One end of a connection. */
export interface Place {
  readonly address: string;
  readonly port: number;
}

/** The state of who listens, as the tables write it. */
export const listening = '0A';

/** `::ffff:0:0/96` as the table writes it. */
export const mappedPrefix = `${'0'.repeat(16)}${words(Buffer.from([0, 0, 0xff, 0xff]))}`;

/** Undefined where the system hides a table. All else throws: an agent that uses up our descriptors must not pass for one of such a system. */
export function readShown(table: string): string | undefined {
  try {
    return readFileSync(table, 'latin1');
  } catch (error) {
    if (error instanceof Error && 'code' in error && hidden.has(error.code)) return undefined;
    throw error;
  }
}

const hidden: ReadonlySet<unknown> = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM']);

export function readTable(table: string): string | undefined {
  try {
    return readFileSync(table, 'latin1');
  } catch {
    return undefined;
  }
}

export function written({ address, port }: Place): string {
  return `${words(bytesOf(address))}:${writtenPort(port)}`;
}

export function writtenPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

/** The table writes addresses as words of the machine's own order. */
export function words(bytes: Buffer): string {
  const ordered = endianness() === 'LE' ? Buffer.from(bytes).swap32() : bytes;
  return ordered.toString('hex').toUpperCase();
}

const dottedEnd = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/;

/** `::1.2.3.4`, as some systems write it. */
function inGroups(_: string, ...parts: string[]): string {
  const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

export function bytesOf(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const [front = '', back] = (address.split('%')[0] ?? '').replace(dottedEnd, inGroups).split('::');
  const [head, tail] = [front, back ?? ''].map((part) => (part === '' ? [] : part.split(':')));
  const zeros = 8 - (head?.length ?? 0) - (tail?.length ?? 0);
  const groups = [...(head ?? []), ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...(tail ?? [])];
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

/** A listener for both families sees IPv4 in the form of IPv6. */
export function unmapped(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}

/** What is before an address of IPv4 in the table of IPv6. */
export function prefixOf(address: string): string {
  return fourOf(address) === undefined ? '' : mappedPrefix;
}

/** An IPv4 address, or the one that an IPv6 address maps: the system connects to that. */
export function fourOf(address: string): Buffer | undefined {
  const bytes = bytesOf(unmapped(address));
  if (bytes.length === 4) return bytes;
  return bytes.toString('hex').startsWith(`${'0'.repeat(20)}ffff`) ? bytes.subarray(12) : undefined;
}
