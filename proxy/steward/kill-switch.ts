import type { CutOffs, CutOff } from '../tasks/cut-offs.ts';
import { concerns, type Principal } from '../tasks/principals.ts';
import type { TaskBook } from '../tasks/task-book.ts';
import type { World } from '../world.ts';
import { Problem } from './problem.ts';
import type { Revocable, RevokeRequest } from './revoke-request.ts';

/** Port: takes the credentials of one tool out of use and back to their issuers, in all tasks. */
export interface ToolCustody {
  dropTool(tool: string, cause: 'revoked'): { readonly dropped: number };
}

/** What a revocation came to. */
export interface Revoked {
  /** Tasks that were open and have ended. */
  readonly tasks: number;
  /** Credentials that were in use and are not any more. */
  readonly credentials: number;
}

/** Port: what the record is told of a revocation. */
export interface RevocationTrail {
  principalRevoked(what: Revocable, reason: string, by: string, beforeMs: number | undefined, came: Revoked): void;
}

export interface KillSwitchParts {
  readonly book: TaskBook;
  readonly cutOffs: CutOffs;
  readonly custody: ToolCustody;
  /** Names of the tools that take a credential, and of those that do not. */
  readonly tools: readonly { readonly name: string; readonly credentialed: boolean }[];
  readonly trail: RevocationTrail;
  readonly world: World;
  /** Keeps the cut-offs for a restart; throws where that fails. */
  readonly keep: (cutOffs: readonly CutOff[]) => void;
}

/** Takes a principal out at once: what is open ends, what it held goes back, and what was issued to it before opens nothing more. */
export class KillSwitch {
  readonly #parts: KillSwitchParts;

  constructor(parts: KillSwitchParts) {
    this.#parts = parts;
  }

  /** Throws a `Problem`, or `TaskRejected` for a task that is not open. */
  revoke({ what, reason, beforeMs }: RevokeRequest, by: string): Revoked {
    const { book, trail } = this.#parts;
    if (what.kind === 'task') {
      const openBefore = book.openCount;
      const ended = book.end(what.txn, 'revoked', reason, by);
      const came = { tasks: openBefore - book.openCount, credentials: ended.credentialsDropped };
      trail.principalRevoked(what, reason, by, undefined, came);
      return came;
    }
    return this.#revokePrincipal(what, reason, by, beforeMs);
  }

  #revokePrincipal(principal: Principal, reason: string, by: string, givenMs: number | undefined): Revoked {
    const { cutOffs, trail, world } = this.#parts;
    if (principal.kind === 'tool') this.#checkTool(principal.name);
    const beforeMs = givenMs ?? world.now();
    // Before the end of the tasks: whoever is told of that end and comes back at once finds the door closed.
    for (const each of withOurOtherNames(principal, cutOffs.ownAgent)) cutOffs.add(each, beforeMs);
    const came =
      principal.kind === 'tool' ? this.#closeTool(principal.name) : this.#endTasks(principal, reason, by, givenMs);
    trail.principalRevoked(principal, reason, by, beforeMs, came);
    this.#keep();
    return came;
  }

  #endTasks(principal: Principal, reason: string, by: string, givenMs: number | undefined): Revoked {
    const { book, cutOffs } = this.#parts;
    const openBefore = book.openCount;
    const own = cutOffs.ownAgent;
    let credentials = 0;
    for (const task of book.list()) {
      // A sub-task may have ended with its parent a moment ago.
      if (task.state !== 'open' || !concerns(principal, task, own)) continue;
      // Whoever came with something newer than what was revoked goes on.
      if (givenMs !== undefined && !cutOffs.stops(task)) continue;
      credentials += book.end(task.txn, 'revoked', reason, by).credentialsDropped;
    }
    return { tasks: openBefore - book.openCount, credentials };
  }

  /** The tasks stay open, and get nothing more for this tool: to exchange anew at once would undo the revocation. */
  #closeTool(tool: string): Revoked {
    const { book, custody } = this.#parts;
    for (const task of book.list()) if (task.state === 'open') task.closeTool(tool);
    return { tasks: 0, credentials: custody.dropTool(tool, 'revoked').dropped };
  }

  #checkTool(name: string): void {
    const tool = this.#parts.tools.find((known) => known.name === name);
    if (tool === undefined) throw new Problem('tool_unknown');
    // To say "done" would be believed, while calls go on.
    if (!tool.credentialed)
      throw new Problem('request_invalid', 'This tool takes no credential that could be revoked.');
  }

  /** Last: what has to end has ended, whatever the disk does. */
  #keep(): void {
    const { cutOffs, keep } = this.#parts;
    try {
      keep(cutOffs.list());
    } catch {
      throw new Problem('revocation_not_kept');
    }
  }
}

/** The agent here is cut off under all its names: after a restart its SPIFFE ID may come later than the first request. */
function withOurOtherNames(principal: Principal, own: readonly string[]): readonly Principal[] {
  if (principal.kind !== 'agent' || !own.includes(principal.id)) return [principal];
  return own.map((id) => ({ kind: 'agent', id }));
}
