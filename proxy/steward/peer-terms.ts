import { peersAreTold } from '../tasks/socket-tables.ts';
import type { PeerTerms } from '../tasks/peer-binding.ts';
import { readProcess } from '../tasks/process.ts';
import { mayLookInto } from '../tasks/socket-holders.ts';
import { Problem } from './problem.ts';
import type { OpenTaskRequest } from './task-request.ts';

/**
 * Whom a task is to be bound to. The process is read now: its pid may be another's by the time of the first call. Throws a `Problem`
 * where nobody could ever be found to be it, since every call of the task would be refused.
 */
export function readPeerTerms({ uid, peer }: Pick<OpenTaskRequest, 'uid' | 'peer'>): PeerTerms {
  const { pid, executable, descendants } = peer;
  const asked = Object.entries({ uid: uid ?? peer.uid, pid, executable }).find(([, value]) => value !== undefined);
  if (asked !== undefined && !peersAreTold)
    throw new Problem('request_invalid', `${asked[0]}: this system does not tell whose a connection is; Linux does.`);
  if (uid !== undefined && peer.uid !== undefined && uid !== peer.uid)
    throw new Problem('request_invalid', 'uid: is another one than peer.uid.');
  if (descendants !== undefined && pid === undefined)
    throw new Problem('request_invalid', 'peer.descendants: goes with peer.pid.');
  return { uid: uid ?? peer.uid, executable, process: pid === undefined ? undefined : findProcess(pid), descendants };
}

function findProcess(pid: number) {
  const found = readProcess(pid);
  if (found !== undefined && mayLookInto(pid)) return found;
  throw new Problem(
    'request_invalid',
    'peer.pid: there is no such process that the sidecar can read. It needs the pid namespace of the agent, and its user or CAP_SYS_PTRACE.',
  );
}
