import { isIPv4, type Socket } from 'node:net';
import {
  bytesOf,
  listening,
  mappedPrefix,
  peersAreTold,
  readTable,
  unmapped,
  words,
  written,
  writtenPort,
  type Place,
} from './socket-tables.ts';

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
  const tablesOf = readTables();
  return ({ peer, own }) => {
    const tables = tablesOf(peer);
    const inodeOf = (one: Place, other: Place): string | undefined => find(tables, one, other)?.inode;
    const ours = inodeOf(own, peer);
    // A table that does not have what is certainly there proves nothing: where sandboxes show an empty one, or no inodes.
    if (ours !== undefined) return ours !== '0' && inodeOf(peer, own) === '0';
    return tables.some(([index, prefix]) => index.hasListener(`${prefix}${words(bytesOf(own.address))}`, own.port));
  };
}

/**
 * Tells of connections what lies in the system and was not read at their other end: of one whose other end stands in our own network
 * namespace all of it, else what is not acknowledged. A text that changes when some of it was read, and is empty where nothing is told.
 */
export function unreadQueues(): (ends: Ends) => string {
  if (!peersAreTold) return () => '';
  const tablesOf = readTables();
  return ({ peer, own }) => {
    const tables = tablesOf(peer);
    // Not the other two: whoever reads nothing may send on.
    return `${find(tables, own, peer)?.sent ?? ''} ${find(tables, peer, own)?.received ?? ''}`;
  };
}

type Tables = readonly (readonly [index: Index, prefix: string])[];

/** The tables that may have a connection, by its other end. */
function readTables(): (peer: Place) => Tables {
  const four = new Index(readTable('/proc/net/tcp') ?? '');
  const six = new Index(readTable('/proc/net/tcp6') ?? '');
  return ({ address }) =>
    isIPv4(address)
      ? [
          [four, ''],
          [six, mappedPrefix],
        ]
      : [[six, '']];
}

function find(tables: Tables, one: Place, other: Place): Line | undefined {
  return tables
    .map(([index, prefix]) => index.lineOf(`${prefix}${written(one)} ${prefix}${written(other)}`))
    .find((line) => line !== undefined);
}

interface Line {
  readonly inode: string;
  /** Bytes that were sent and not acknowledged. */
  readonly sent: string | undefined;
  /** Bytes that came and were not read. */
  readonly received: string | undefined;
}

/** A table, read once for all who are looked for in it: agents choose how many these are. */
class Index {
  readonly #lines = new Map<string, Line>();
  readonly #listeners = new Set<string>();

  constructor(text: string) {
    for (const line of text.split('\n')) {
      const [, local = '', remote = '', state, queues = '', , , , , inode] = line.trim().split(/\s+/);
      if (inode === undefined) continue;
      const [sent, received] = queues.split(':');
      this.#lines.set(`${local} ${remote}`, { inode, sent, received });
      if (state === listening) this.#listeners.add(local);
    }
  }

  lineOf(places: string): Line | undefined {
    return this.#lines.get(places);
  }

  /** At this address, or at all of them. */
  hasListener(address: string, port: number): boolean {
    return [address, '0'.repeat(address.length)].some((at) => this.#listeners.has(`${at}:${writtenPort(port)}`));
  }
}
