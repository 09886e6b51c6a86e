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
  const [four, six] = ['/proc/net/tcp', '/proc/net/tcp6'].map((table) => new Index(readTable(table) ?? ''));
  return ({ peer, own }) => {
    const tables = isIPv4(peer.address) ? [[four, ''] as const, [six, mappedPrefix] as const] : [[six, ''] as const];
    const inodeOf = (one: Place, other: Place): string | undefined =>
      tables
        .map(([index, prefix]) => index?.inodeOf(`${prefix}${written(one)} ${prefix}${written(other)}`))
        .find(Boolean);
    const ours = inodeOf(own, peer);
    // A table that does not have what is certainly there proves nothing: where sandboxes show an empty one, or no inodes.
    if (ours !== undefined) return ours !== '0' && inodeOf(peer, own) === '0';
    return tables.some(([index, prefix]) => index?.hasListener(`${prefix}${words(bytesOf(own.address))}`, own.port));
  };
}

/** A table, read once for all who are looked for in it: agents choose how many these are. */
class Index {
  readonly #inodes = new Map<string, string>();
  readonly #listeners = new Set<string>();

  constructor(text: string) {
    for (const line of text.split('\n')) {
      const [, local = '', remote = '', state, , , , , , inode] = line.trim().split(/\s+/);
      if (inode === undefined) continue;
      this.#inodes.set(`${local} ${remote}`, inode);
      if (state === listening) this.#listeners.add(local);
    }
  }

  inodeOf(places: string): string | undefined {
    return this.#inodes.get(places);
  }

  /** At this address, or at all of them. */
  hasListener(address: string, port: number): boolean {
    return [address, '0'.repeat(address.length)].some((at) => this.#listeners.has(`${at}:${writtenPort(port)}`));
  }
}
