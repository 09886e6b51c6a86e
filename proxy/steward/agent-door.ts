import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Settings } from '../../config/settings.ts';
import { Refusal } from '../refusal.ts';
import { claimKey, type ReplayLedger } from '../replay/claim.ts';
import { PeerBinding } from '../tasks/peer-binding.ts';
import { holdersOf } from '../tasks/socket-holders.ts';
import type { Task } from '../tasks/task.ts';
import type { TaskBook } from '../tasks/task-book.ts';
import { TaskRejected } from '../tasks/task-rejected.ts';
import type { World } from '../world.ts';
import { problemOf, type Door, type TaskOpener } from './open-task.ts';
import { Problem, sendJson, sendProblem } from './problem.ts';
import { readJson } from './read-json.ts';
import { describeEnded, describeOpened } from './task-answers.ts';
import { parseEndRequest, parseOpenRequest, type OpenTaskRequest } from './task-request.ts';

/** What the agent may ask of the sidecar itself. */
export type AgentAction = 'open' | 'complete' | 'fail';

/** What the agent's own door works on. */
export interface AgentDoorRooms {
  readonly settings: Settings;
  readonly book: TaskBook;
  readonly opener: TaskOpener;
  /** Subject tokens that opened their task. */
  readonly spent: ReplayLedger;
  readonly world: World;
  readonly outbound: () => string;
  /** The task whose own handle a request carries as its credential; undefined where it carries none. Throws a `Refusal` for a wrong one. */
  readonly ownTask: (request: IncomingMessage) => Task | undefined;
  onFault(error: unknown): void;
}

/** How long a body may take, milliseconds. */
const bodyMs = 20_000;
/** Subject tokens of the agent that are remembered as spent. */
export const maxSpentSubjects = 16_384;

/**
 * The agent's own door (DESIGN 4 c): it may open tasks for users whose token it was given, within what `purposes` allow, each token once,
 * and end those whose handle it holds. A `Refusal` is thrown to the caller, who records it; anything else is answered here.
 */
export async function serveAgent(
  action: AgentAction,
  request: IncomingMessage,
  response: ServerResponse,
  rooms: AgentDoorRooms,
): Promise<void> {
  const late = setTimeout(() => request.destroy(), bodyMs);
  try {
    checkPeer(request, rooms.settings);
    // The listener leaves it to whoever wants the body. HTTP/1.0 has no such answer (RFC 9110 10.1.1).
    const { httpVersion, headers } = request;
    if (httpVersion === '1.1' && headers.expect?.toLowerCase() === '100-continue') response.writeContinue();
    if (action === 'open') await openTask(request, response, rooms);
    else await endTask(request, response, action, rooms);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if (response.destroyed) return;
    if (error instanceof Problem) sendProblem(response, error);
    else if (error instanceof TaskRejected) sendProblem(response, problemOf(error));
    else {
      rooms.onFault(error);
      sendProblem(response, new Problem('internal_fault'));
    }
  } finally {
    clearTimeout(late);
  }
}

/** Other processes of the pod are not the agent. */
function checkPeer({ socket }: IncomingMessage, { agent }: Settings): void {
  const { uid, executable } = agent;
  if (new PeerBinding({ uid, executable }).judge(socket) !== undefined) throw new Problem('peer_not_allowed');
}

async function openTask(request: IncomingMessage, response: ServerResponse, rooms: AgentDoorRooms): Promise<void> {
  const { settings, opener } = rooms;
  if (settings.purposes.size === 0)
    throw new Problem(
      'purpose_not_allowed',
      'The agent opens tasks within `purposes` only, and the configuration has none.',
    );
  const order = parseOpenRequest(await readJson(request));
  // A sub-task takes part in its parent's transaction: only who holds the parent may add to it.
  const parent = order.parent === undefined ? undefined : rooms.ownTask(request);
  if (parent?.txn !== order.parent)
    throw new Problem('request_invalid', 'parent: needs the handle of that task as the credential of this request.');
  checkNarrowing(order, parent, settings);
  // Before anything is spent for it: what whoever opens it could not use is not opened.
  const binds = settings.tasks.bind.startsWith('process') && order.peer.pid === undefined;
  if (binds && parent?.peer.process === undefined && holdersOf(request.socket) === undefined)
    throw new Problem(
      'peer_not_allowed',
      'The process of this connection cannot be told, and `tasks.bind` asks for it.',
    );
  const opened = await opener.open(order, agentDoor(rooms));
  // Where the first use binds, this was it: who opens a task is who may call in it.
  opened.task.peer.judge(request.socket);
  sendJson(response, 201, describeOpened(opened, rooms.outbound()));
}

/** The agent may bind its task closer than it is bound itself, and not to somebody else. */
function checkNarrowing(order: OpenTaskRequest, parent: Task | undefined, { agent }: Settings): void {
  const { pid, executable, uid = order.uid } = order.peer;
  const wanted = [
    ['uid', uid, agent.uid ?? parent?.peer.uid],
    ['pid', pid, parent?.peer.process?.pid],
    ['executable', executable, agent.executable ?? parent?.peer.executable],
  ] as const;
  if (order.peer.descendants === true && parent?.peer.process !== undefined && !parent.peer.descendants)
    throw new Problem('request_invalid', 'peer.descendants: the parent is bound to one process.');
  for (const [name, asked, own] of wanted) {
    if (asked !== undefined && own !== undefined && asked !== own)
      throw new Problem('request_invalid', `${name}: is not that of the agent, or of the parent.`);
  }
}

function agentDoor({ settings, spent, world }: AgentDoorRooms): Door {
  return {
    by: 'agent',
    // Whoever opens tasks in a loop must not turn requests and orchestrators away.
    share: { owner: 'agent', max: Math.max(64, Math.floor(settings.tasks.max_open / 4)) },
    checkSubject({ iss, jti, expiresAtMs }) {
      if (jti === undefined || jti === '')
        throw new Problem('subject_token_invalid', 'The subject token has no `jti`, and could open tasks without end.');
      const claimed = spent.claim(claimKey('token', iss, jti), expiresAtMs, world.now());
      if (claimed === 'spent') throw new Problem('token_spent');
      if (claimed === 'full') throw new Problem('too_many_tasks', 'No more subject tokens can be remembered as spent.');
    },
  };
}

async function endTask(
  request: IncomingMessage,
  response: ServerResponse,
  action: 'complete' | 'fail',
  { ownTask, book }: AgentDoorRooms,
): Promise<void> {
  const { reason } = parseEndRequest(await readJson(request));
  // After the body, or the task could end in between.
  const task = ownTask(request);
  if (task === undefined)
    throw new Refusal('task_unknown', 'A task is ended with its own handle, as the credential of the request.');
  const state = action === 'complete' ? 'completed' : 'failed';
  // The request of the task, if it is under way, still gets its answer.
  sendJson(response, 200, describeEnded(book.end(task.txn, state, reason ?? state, 'agent', true)));
}
