import { readFileSync } from 'node:fs';
import { isIPv4, type Socket } from 'node:net';
import { endianness } from 'node:os';

/** Whether this system tells which user, and which process, a connection of its own belongs to. */
export const peersAreTold = process.platform === 'linux';

/** Whether a connection came from this machine, or from this pod. TLS inside a tunnel tells the address of the connection around it. */
export function isFromHere({ remoteAddress = '' }: Socket): boolean {
  const plain = unmapped(remoteAddress);
  return plain === '::1' || /^127(?:\.\d{1,3}){3}$/.test(plain);
}

/** The peer's end of a connection, as the kernel lists it. */
export interface PeerEnd {
  /** User id of the process that made the socket. */
  readonly uid: number;
  /** Number of the socket: what the descriptors of its holders are links to. */
  readonly inode: string;
}

const told = new WeakMap<Socket, PeerEnd | undefined>();

/**
 * The other end of a connection that was opened to us in our own network namespace, as the kernel tells it to everybody
 * (`/proc/net/tcp`, `tcp6`); undefined where it does not. Asked for once per connection: the tables are as long as the machine has
 * connections, and whoever opened it stays who it was.
 */
export function peerEndOf(socket: Socket): PeerEnd | undefined {
  if (!told.has(socket)) told.set(socket, peersAreTold ? readEnd(socket) : undefined);
  return told.get(socket);
}

/** The user id of the process that opened a connection to us; undefined where it cannot be told. */
export function uidOf(socket: Socket): number | undefined {
  return peerEndOf(socket)?.uid;
}

function readEnd(socket: Socket): PeerEnd | undefined {
  const ends = endsOf(socket);
  if (ends === undefined) return undefined;
  const { peer, own } = ends;
  if (!isIPv4(peer.address)) return findEnd('/proc/net/tcp6', peer, own, '');
  // A socket for both families that calls an IPv4 address stands in the other table.
  return findEnd('/proc/net/tcp', peer, own, '') ?? findEnd('/proc/net/tcp6', peer, own, mappedPrefix);
}

/**
 * The user ids of those who listen at an address and port in our own network namespace, also by listening at all of its addresses. Empty
 * where nobody does; undefined where the system does not tell. Throws where it could not be asked.
 */
export function listenersAt(address: string, port: number): readonly number[] | undefined {
  const isFour = fourOf(address) !== undefined;
  const four = isFour ? readShown('/proc/net/tcp') : '';
  const six = readShown('/proc/net/tcp6');
  if (four === undefined || (!isFour && six === undefined)) return undefined;
  // A listener for both families stands in the table of IPv6 alone.
  return [...listenersIn(four, '', address, port), ...listenersIn(six ?? '', prefixOf(address), address, port)];
}

/**
 * The user ids of those who may have the other end of a connection that we opened to our own network namespace: of who accepted it, and
 * of who listens there. Empty where it has no other end; undefined where the system does not tell. Throws where it could not be asked.
 */
export function acceptorsOf(socket: Socket): readonly number[] | undefined {
  const { remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 } = socket;
  const peer = { address: unmapped(remoteAddress), port: remotePort };
  const own = { address: unmapped(localAddress), port: localPort };
  if (peer.address === '' || own.address === '') return [];
  const isFour = isIPv4(peer.address);
  const four = isFour ? readShown('/proc/net/tcp') : '';
  if (four === undefined) return undefined;
  const found = acceptorsIn(four, '', peer, own);
  // An end stands in the table of its listener. To read the other takes a millisecond and more.
  if (found.length > 0) return found;
  const six = readShown('/proc/net/tcp6');
  if (six === undefined) return isFour ? [] : undefined;
  return acceptorsIn(six, prefixOf(peer.address), peer, own);
}

/** Both ends of a connection that was opened to us. */
export interface Ends {
  readonly peer: Place;
  readonly own: Place;
}

/** Undefined for one that is closed, or was reset: nobody can tell its ends any more. */
export function endsOf({ remoteAddress, remotePort = 0, localAddress, localPort = 0 }: Socket): Ends | undefined {
  if (remoteAddress === undefined || localAddress === undefined) return undefined;
  return {
    peer: { address: unmapped(remoteAddress), port: remotePort },
    own: { address: unmapped(localAddress), port: localPort },
  };
}

/**
 * Tells of connections whether nobody is at their other end any more: it was reset, or the other end stands in our own network namespace
 * and was closed. Says no where the system does not tell, and for one whose other end is on another machine and was closed in order: it may
 * wait for its answer still. What changes while the tables are read can be missed in them.
 */
export function departures(): (ends: Ends) => boolean {
  if (!peersAreTold) return () => false;
  const [four = '', six = ''] = ['/proc/net/tcp', '/proc/net/tcp6'].map(readTable);
  return ({ peer, own }) => {
    const tables = isIPv4(peer.address) ? [[four, ''] as const, [six, mappedPrefix] as const] : [[six, ''] as const];
    const between = (one: Place, other: Place): Line[] =>
      tables.flatMap(([text, prefix]) => linesBetween(text, one, other, prefix));
    const ours = between(own, peer);
    // A table that does not have what is certainly there proves nothing: where sandboxes show an empty one, or no inodes.
    if (ours.length > 0) return ours[0]?.inode !== '0' && between(peer, own).some(({ inode }) => inode === '0');
    return tables.some(([text, prefix]) => listenersIn(text, prefix, own.address, own.port).length > 0);
  };
}

function acceptorsIn(text: string, prefix: string, peer: Place, own: Place): readonly number[] {
  const lines = linesBetween(text, peer, own, prefix);
  if (lines.length === 0) return [];
  // Nobody has to accept before we write; until then there is no inode, and the kernel may call it root's. It is one of those who listen.
  const accepted = lines.filter(({ inode }) => inode !== '0').map(({ uid }) => uid);
  return [...accepted, ...listenersIn(text, prefix, peer.address, peer.port)];
}

/** Users who listen there by one table. @param prefix what is before an address of IPv4 in it. */
function listenersIn(text: string, prefix: string, address: string, port: number): readonly number[] {
  const own = `${prefix}${words(fourOf(address) ?? bytesOf(address))}`;
  const everywhere = '0'.repeat(own.length);
  const at = (place: string): string => ` ${place}:${writtenPort(port)} ${everywhere}:0000 `;
  const found = [own, everywhere].flatMap((place) => linesOf(text, at(place)));
  return found.filter(({ state }) => state === listening).map(({ uid }) => uid);
}

interface Place {
  readonly address: string;
  readonly port: number;
}

/** A line of a table, behind its two places. */
interface Line extends PeerEnd {
  readonly state: string;
}

const listening = '0A';
const timeWait = '06';

/** `::ffff:0:0/96` as the table writes it. */
const mappedPrefix = `${'0'.repeat(16)}${words(Buffer.from([0, 0, 0xff, 0xff]))}`;

/** Looks for the peer's end of the connection: what is local to it is remote to us. */
function findEnd(table: string, peer: Place, own: Place, prefix: string): PeerEnd | undefined {
  const line = linesBetween(readTable(table) ?? '', peer, own, prefix)[0];
  // A connection that nobody holds any more (TIME_WAIT, and others without an inode) is listed as that of root.
  return line === undefined || line.state === timeWait || line.inode === '0' ? undefined : line;
}

function linesBetween(text: string, peer: Place, own: Place, prefix: string): Line[] {
  return linesOf(text, ` ${prefix}${written(peer)} ${prefix}${written(own)} `);
}

/** Undefined where the system hides a table. All else throws: an agent that uses up our descriptors must not pass for one of such a system. */
function readShown(table: string): string | undefined {
  try {
    return readFileSync(table, 'latin1');
  } catch (error) {
    if (error instanceof Error && 'code' in error && hidden.has(error.code)) return undefined;
    throw error;
  }
}

const hidden: ReadonlySet<unknown> = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM']);

function readTable(table: string): string | undefined {
  try {
    return readFileSync(table, 'latin1');
  } catch {
    return undefined;
  }
}

/** The lines of these places. One that is not as it should be is none. */
function linesOf(text: string, places: string): Line[] {
  const found: Line[] = [];
  for (let at = text.indexOf(places); at !== -1; at = text.indexOf(places, at + places.length)) {
    const rest = text.slice(at + places.length, text.indexOf('\n', at));
    const [state = '', , , , uid, , inode] = rest.trim().split(/\s+/);
    if (inode !== undefined && uid !== undefined && /^\d+$/.test(uid)) found.push({ state, uid: Number(uid), inode });
  }
  return found;
}

function written({ address, port }: Place): string {
  return `${words(bytesOf(address))}:${writtenPort(port)}`;
}

function writtenPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

/** The table writes addresses as words of the machine's own order. */
function words(bytes: Buffer): string {
  const ordered = endianness() === 'LE' ? Buffer.from(bytes).swap32() : bytes;
  return ordered.toString('hex').toUpperCase();
}

function bytesOf(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const [front = '', back] = (address.split('%')[0] ?? '').split('::');
  const [head, tail] = [front, back ?? ''].map((part) => (part === '' ? [] : part.split(':')));
  const zeros = 8 - (head?.length ?? 0) - (tail?.length ?? 0);
  const groups = [...(head ?? []), ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...(tail ?? [])];
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

/** A listener for both families sees IPv4 in the form of IPv6. */
function unmapped(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}

/** What is before an address of IPv4 in the table of IPv6. */
function prefixOf(address: string): string {
  return fourOf(address) === undefined ? '' : mappedPrefix;
}

/** An IPv4 address, or the one that an IPv6 address maps: the system connects to that. */
function fourOf(address: string): Buffer | undefined {
  const bytes = bytesOf(unmapped(address));
  if (bytes.length === 4) return bytes;
  return bytes.toString('hex').startsWith(`${'0'.repeat(20)}ffff`) ? bytes.subarray(12) : undefined;
}
