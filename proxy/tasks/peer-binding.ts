import type { Socket } from 'node:net';
import type { Settings } from '../../config/settings.ts';
import { uidOf } from './peer.ts';
import { descendsFrom, isSameExecutable, isSameProcess, type SeenProcess } from './process.ts';
import { holdersOf } from './socket-holders.ts';

/** What a connection has to be of to call in a task; what is left out is not asked. */
export interface PeerTerms {
  readonly uid?: number | undefined;
  readonly process?: SeenProcess | undefined;
  /** Whether processes that descend from the bound one count as it. */
  readonly descendants?: boolean | undefined;
  /** Path of the executable, as the process's own file system names it. */
  readonly executable?: string | undefined;
  /** What the first connection that names the task fixes. */
  readonly fixes?: 'uid' | 'process' | undefined;
}

/** What the configuration asks of the agent's connections (`agent.uid`, `agent.executable`, `tasks.bind`). */
export interface AgentPeer {
  readonly uid: number | undefined;
  readonly executable: string | undefined;
  readonly bind: 'none' | 'uid' | 'process' | 'process_tree';
}

/** What a configuration asks, in one piece. */
export function agentPeerOf({ agent, tasks }: Pick<Settings, 'agent' | 'tasks'>): AgentPeer {
  return { uid: agent.uid, executable: agent.executable, bind: tasks.bind };
}

/** Why a connection is not one that may call in a task; `unseen`: it cannot be told whose it is. */
export type PeerFault = 'user' | 'process' | 'executable' | 'unseen';

/** Who may call in a task: a user, a process, whoever runs an executable, or whoever comes first. */
export class PeerBinding {
  readonly executable: string | undefined;
  readonly descendants: boolean;
  #uid: number | undefined;
  #process: SeenProcess | undefined;
  #fixes: PeerTerms['fixes'];
  /** What was said of the holders of a connection: asked for once, as they are. */
  #judged: WeakMap<Socket, PeerFault | 'none'> | undefined;

  constructor({ uid, process, descendants = false, executable, fixes }: PeerTerms) {
    this.executable = executable;
    this.descendants = descendants;
    this.#uid = uid;
    this.#process = process;
    this.#fixes = process === undefined && !(fixes === 'uid' && uid !== undefined) ? fixes : undefined;
  }

  get uid(): number | undefined {
    return this.#uid;
  }

  get process(): SeenProcess | undefined {
    return this.#process;
  }

  /** What the first connection is going to fix; undefined when that has happened, or is not asked for. */
  get fixes(): PeerTerms['fixes'] {
    return this.#fixes;
  }

  /** Judges a connection that names the task; undefined where it may. The first one that may is who the task is bound to. */
  judge(socket: Socket): PeerFault | undefined {
    if (this.#uid !== undefined && uidOf(socket) !== this.#uid) return 'user';
    if (this.#fixes === 'uid') {
      this.#uid = uidOf(socket);
      if (this.#uid === undefined) return 'unseen';
      this.#fixes = undefined;
    }
    if (this.executable === undefined && this.#process === undefined && this.#fixes === undefined) return undefined;
    this.#judged ??= new WeakMap();
    let fault = this.#judged.get(socket);
    if (fault === undefined) {
      fault = this.#judgeHolders(holdersOf(socket)) ?? 'none';
      this.#judged.set(socket, fault);
    }
    return fault === 'none' ? undefined : fault;
  }

  #judgeHolders(holders: readonly SeenProcess[] | undefined): PeerFault | undefined {
    if (holders === undefined) return 'unseen';
    if (this.executable !== undefined && holders.some(({ executable }) => executable.path !== this.executable))
      return 'executable';
    if (this.#process !== undefined) return this.#judgeProcess(this.#process, holders);
    if (this.#fixes === undefined) return undefined;
    const first = findEldest(holders);
    if (first === undefined) return 'unseen';
    this.#process = first;
    this.#fixes = undefined;
    return undefined;
  }

  /**
   * A connection is of the bound process when that holds it, and nobody else but descendants, which have it by a fork: a socket is not
   * inherited upwards. With `descendants`, one that they opened themselves counts too.
   */
  #judgeProcess(bound: SeenProcess, holders: readonly SeenProcess[]): PeerFault | undefined {
    const own = holders.find((holder) => isSameProcess(holder, bound));
    // It may have become another program since.
    if (own !== undefined && !isSameExecutable(own.executable, bound.executable)) return 'executable';
    if (own === undefined && !this.descendants) return 'process';
    return holders.every((holder) => holder === own || descendsFrom(holder.pid, bound)) ? undefined : 'process';
  }
}

/** The holder that all others descend from; undefined where there is none, and so nobody of whom the connection surely is. */
function findEldest(holders: readonly SeenProcess[]): SeenProcess | undefined {
  return holders.find((eldest) => holders.every((holder) => holder === eldest || descendsFrom(holder.pid, eldest)));
}

/** Of the many tasks that are bound to nobody. */
const anybody = new PeerBinding({});

/**
 * The binding of a new task: what was asked for it, else what its parent has, else what the configuration says. The standing task is
 * bound to nobody by its first use: it has no handle that could be taken, and outlives the agent's processes.
 */
export function bindPeer(
  asked: PeerTerms,
  parent: PeerBinding | undefined,
  { uid, executable, bind }: AgentPeer,
  standing: boolean,
): PeerBinding {
  const process = asked.process ?? parent?.process;
  const ofParent = parent?.process === undefined ? bind === 'process_tree' : parent.descendants;
  const fixes: PeerTerms['fixes'] = standing || bind === 'none' ? undefined : bind === 'uid' ? 'uid' : 'process';
  const terms = {
    uid: asked.uid ?? parent?.uid ?? uid,
    process,
    descendants: asked.process === undefined ? ofParent : asked.descendants,
    executable: asked.executable ?? parent?.executable ?? executable,
    fixes,
  };
  const { uid: user, executable: file } = terms;
  const isBound = user !== undefined || process !== undefined || file !== undefined || fixes !== undefined;
  return isBound ? new PeerBinding(terms) : anybody;
}
