import { isIPv4, type Socket } from 'node:net';
import { endsOf } from './other-end.ts';
import {
  bytesOf,
  fourOf,
  listening,
  mappedPrefix,
  peersAreTold,
  prefixOf,
  readShown,
  readTable,
  unmapped,
  words,
  written,
  writtenPort,
  type Place,
} from './socket-tables.ts';

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

/** A line of a table, behind its two places. */
interface Line extends PeerEnd {
  readonly state: string;
}

const timeWait = '06';

/** Looks for the peer's end of the connection: what is local to it is remote to us. */
function findEnd(table: string, peer: Place, own: Place, prefix: string): PeerEnd | undefined {
  const line = linesBetween(readTable(table) ?? '', peer, own, prefix)[0];
  // A connection that nobody holds any more (TIME_WAIT, and others without an inode) is listed as that of root.
  return line === undefined || line.state === timeWait || line.inode === '0' ? undefined : line;
}

function linesBetween(text: string, peer: Place, own: Place, prefix: string): Line[] {
  return linesOf(text, ` ${prefix}${written(peer)} ${prefix}${written(own)} `);
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
