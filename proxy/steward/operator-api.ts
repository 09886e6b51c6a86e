import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TaskBook } from '../tasks/task-book.ts';
import { isTaskState } from '../tasks/task.ts';
import { TaskRejected } from '../tasks/task-rejected.ts';
import { takeInventory, type InventorySources } from './inventory.ts';
import { readAfter, type EventStream } from './event-stream.ts';
import type { Shared } from './fleet.ts';
import type { KillSwitch } from './kill-switch.ts';
import { problemOf, type TaskOpener } from './open-task.ts';
import { Problem, sendJson, sendProblem } from './problem.ts';
import { readJson } from './read-json.ts';
import { parseRevokeRequest } from './revoke-request.ts';
import { checkRole, type Role } from './roles.ts';
import { describe, describeEnded, describeOpened } from './task-answers.ts';
import { parseEndRequest, parseOpenRequest } from './task-request.ts';

/** What the operator's API works on. */
export interface OperatorRooms {
  readonly book: TaskBook;
  readonly opener: TaskOpener;
  readonly killSwitch: KillSwitch;
  readonly inventory: InventorySources;
  readonly events: EventStream;
  /** Whether the other sidecars of the fleet will hear of what was revoked here; undefined without a fleet. */
  readonly shared: () => Promise<Shared> | undefined;
  /** Whether tokens of this issuer can have opened a task. */
  readonly knowsIssuer: (iss: string) => boolean;
  /** Address of the way out as the agent is told it, `127.0.0.1:15001`. */
  readonly outbound: () => string;
  /** Which sidecar this is: version, boot, digest of its configuration, pid; and what is `missing` for its readiness. */
  readonly self: () => object;
  onFault(error: unknown): void;
}

/** Orchestrators are trusted with their tokens, and have the whole book. */
const operatorDoor = { by: 'operator_api', share: undefined, checkSubject: () => undefined };

/** Serves one request of the operator's API (WIRE 1) for a caller whose role is known. Never rejects. */
export async function serveOperator(
  request: IncomingMessage,
  response: ServerResponse,
  role: Role,
  rooms: OperatorRooms,
): Promise<void> {
  try {
    await dispatch(request, response, role, rooms);
  } catch (error) {
    if (error instanceof Problem) sendProblem(response, error);
    else if (error instanceof TaskRejected) sendProblem(response, problemOf(error));
    else {
      rooms.onFault(error);
      sendProblem(response, new Problem('internal_fault'));
    }
  }
}

async function dispatch(
  request: IncomingMessage,
  response: ServerResponse,
  role: Role,
  rooms: OperatorRooms,
): Promise<void> {
  const url = URL.parse(request.url ?? '/', 'http://operator');
  if (url === null) throw new Problem('not_found');
  const [version, collection, txn, action, ...more] = url.pathname.split('/').slice(1);
  if (url.pathname === '/v1/revoke') return revoke(request, response, role, rooms);
  if (url.pathname === '/v1/inventory') {
    checkMethod(request, 'GET');
    checkRole(role, 'reader');
    sendJson(response, 200, takeInventory(rooms.inventory));
    return;
  }
  if (url.pathname === '/v1/sidecar') {
    checkMethod(request, 'GET');
    checkRole(role, 'reader');
    sendJson(response, 200, rooms.self());
    return;
  }
  if (url.pathname === '/v1/events') {
    checkMethod(request, 'GET');
    checkRole(role, 'reader');
    await rooms.events.follow(readAfter(url.searchParams), response);
    return;
  }
  if (version !== 'v1' || collection !== 'tasks' || more.length > 0) throw new Problem('not_found');
  if (action !== undefined) {
    if (action !== 'complete' && action !== 'fail') throw new Problem('not_found');
    checkMethod(request, 'POST');
    checkRole(role, 'orchestrator');
    await endTask(request, response, txn ?? '', action, rooms);
  } else if (txn !== undefined) {
    checkMethod(request, 'GET');
    checkRole(role, 'reader');
    const task = rooms.book.find(txn);
    if (task === undefined) throw new Problem('not_found', 'There is no such task.');
    sendJson(response, 200, describe(task));
  } else if (request.method === 'POST') {
    checkRole(role, 'orchestrator');
    const opened = await rooms.opener.open(parseOpenRequest(await readJson(request)), operatorDoor);
    sendJson(response, 201, describeOpened(opened, rooms.outbound()));
  } else {
    checkMethod(request, 'GET', 'GET, POST');
    checkRole(role, 'reader');
    const state = url.searchParams.get('state');
    if (state !== null && !isTaskState(state)) throw new Problem('request_invalid', 'state: is no state of a task.');
    const tasks = rooms.book.list().filter((task) => state === null || task.state === state);
    sendJson(response, 200, { tasks: tasks.map(describe) });
  }
}

async function revoke(
  request: IncomingMessage,
  response: ServerResponse,
  role: Role,
  rooms: OperatorRooms,
): Promise<void> {
  checkMethod(request, 'POST');
  checkRole(role, 'operator');
  const order = parseRevokeRequest(await readJson(request));
  const came = rooms.killSwitch.revoke(order, 'operator_api');
  const fleet = await rooms.shared();
  const isUnknown = order.what.kind === 'subject' && came.tasks === 0 && !rooms.knowsIssuer(order.what.iss);
  sendJson(response, 200, {
    ...came,
    ...(fleet === undefined ? {} : { fleet }),
    // Done all the same: the first link of a chain may name an issuer that stands in no configuration here.
    ...(isUnknown ? { issuer: 'unknown' } : {}),
  });
}

async function endTask(
  request: IncomingMessage,
  response: ServerResponse,
  txn: string,
  action: 'complete' | 'fail',
  rooms: OperatorRooms,
): Promise<void> {
  const { reason } = parseEndRequest(await readJson(request));
  const state = action === 'complete' ? 'completed' : 'failed';
  const ended = rooms.book.end(txn, state, reason ?? state, 'operator_api');
  sendJson(response, 200, describeEnded(ended));
}

function checkMethod(request: IncomingMessage, method: 'GET' | 'POST', allow: string = method): void {
  if (request.method !== method) throw new Problem('method_not_allowed', undefined, allow);
}
