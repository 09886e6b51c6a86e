import { readdirSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { peerEndOf } from './peer.ts';
import { readProcess, type SeenProcess } from './process.ts';

/** Processes that are looked through for the holders of a connection; where there are more, nobody is found. */
const maxProcesses = 4096;
/** Descriptors of all of them together: reading one takes microseconds, in which nothing else is done. */
const maxDescriptors = 16_384;

const holders = new WeakMap<Socket, readonly SeenProcess[] | undefined>();

/**
 * The processes that hold the other end of a connection, as far as they can be read: the one that opened it, and whoever it handed the
 * socket on to by a fork. Undefined where none is seen: in another pid namespace, or of another user without CAP_SYS_PTRACE. Looked for
 * once per connection, since it means reading every descriptor there is.
 */
export function holdersOf(socket: Socket): readonly SeenProcess[] | undefined {
  if (!holders.has(socket)) holders.set(socket, findHolders(socket));
  return holders.get(socket);
}

function findHolders(socket: Socket): readonly SeenProcess[] | undefined {
  const end = peerEndOf(socket);
  if (end === undefined) return undefined;
  const found: SeenProcess[] = [];
  let left = maxDescriptors;
  const pids = listPids();
  if (pids.length > maxProcesses) return undefined;
  for (const pid of pids) {
    const descriptors = listDescriptors(pid);
    left -= descriptors?.length ?? 0;
    // What was not looked at may be a holder too, so half a search says nothing.
    if (left < 0) return undefined;
    if (descriptors?.some((name) => holdsSocket(pid, name, end.inode)) !== true) continue;
    const process = readProcess(pid);
    // It was there a moment ago and holds the socket: without knowing who it is, nobody may be taken for the only holder.
    if (process === undefined) return undefined;
    found.push(process);
  }
  return found.length === 0 ? undefined : found;
}

/** Whether this process may look into another one's descriptors: without, none of its connections are found to be its own. */
export function mayLookInto(pid: number): boolean {
  return listDescriptors(pid) !== undefined;
}

/** All processes of this pid namespace that the system shows. */
export function listPids(): readonly number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

function listDescriptors(pid: number): readonly string[] | undefined {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return undefined;
  }
}

function holdsSocket(pid: number, descriptor: string, inode: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/fd/${descriptor}`) === `socket:[${inode}]`;
  } catch {
    return false;
  }
}
