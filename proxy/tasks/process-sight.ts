import { readFileSync } from 'node:fs';
import type { AgentPeer } from './peer-binding.ts';
import { descendsFrom, readProcess } from './process.ts';
import { listPids, mayLookInto } from './socket-holders.ts';
import { peersAreTold } from './socket-tables.ts';

/** Bit of CAP_SYS_PTRACE in the sets of `/proc/<pid>/status`. */
const sysPtrace = 19n;

/** Whether the configuration binds anything to processes. Tasks can be bound to one by whoever opens them, too. */
export function bindsProcesses({ executable, bind }: Pick<AgentPeer, 'executable' | 'bind'>): boolean {
  return executable !== undefined || bind.startsWith('process');
}

/**
 * Why the processes of the agent are likely not told by this process, where it looks for them; empty where nothing speaks against it.
 * Sentences for the operator. Every call would be refused then (`handle_foreign_peer`).
 * @param ownUid of this process.
 */
export function findBlindness({ uid }: Pick<AgentPeer, 'uid'>, ownUid: number): readonly string[] {
  if (!peersAreTold) return [`this system (${process.platform}) does not tell whose a connection is; Linux does`];
  const self = readProcess(process.pid);
  if (self === undefined || !mayLookInto(self.pid)) return ['/proc is not there, or is not that of this process'];
  const found: string[] = [];
  // Where the pid namespace is not shared, we and those who started us are alone in it.
  const others = listPids().filter((pid) => !isKin(pid, self.pid));
  if (others.length === 0)
    found.push(
      'no other process is seen: the pid namespace of the agent is another one (in a pod, shareProcessNamespace)',
    );
  if (uid !== undefined && uid !== ownUid && !hasCapability(sysPtrace))
    found.push(`agent.uid is ${uid} and the sidecar runs as ${ownUid} without CAP_SYS_PTRACE`);
  return found;
}

function isKin(pid: number, own: number): boolean {
  const [self, other] = [readProcess(own), readProcess(pid)];
  if (self === undefined) return false;
  return descendsFrom(pid, self) || (other !== undefined && descendsFrom(own, other));
}

function hasCapability(bit: bigint): boolean {
  try {
    const set = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
    return ((BigInt(`0x${set}`) >> bit) & 1n) === 1n;
  } catch {
    return false;
  }
}
