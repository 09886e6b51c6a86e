import type { Socket } from 'node:net';
import { Refusal } from '../refusal.ts';
import type { Call } from '../intercept/call.ts';
import type { Tool } from '../intercept/tool-catalogue.ts';
import { findHandleText } from '../tasks/handle-text.ts';
import type { Handle, HandleBook } from '../tasks/handle.ts';
import type { Errand, Task } from '../tasks/task.ts';
import type { UseCount } from '../tasks/use-count.ts';
import { HandleRefusal } from './handle-refusal.ts';
import { checkLeak, type KnownSecrets } from './leak.ts';
import { checkPeer, isForPeer } from './peer-check.ts';
import { rungsFor } from './rungs-hint.ts';
import { checkTraced, findByTrace, type TraceRung } from './trace-rung.ts';

/** By which rung a task was found; it stands in every event as `task_by`. */
export type TaskBy = 'handle' | 'proxy' | 'trace' | 'standing' | 'none';

const nothing: readonly UseCount[] = [];

/** A call of which is known for which task it is made, or that it needs none. */
class AttributedCall {
  readonly #made = true;
  readonly call: Call;
  /** Undefined only for a tool without credential that was called without a handle. */
  readonly errand: Errand | undefined;
  readonly by: TaskBy;
  readonly #spent: readonly UseCount[];

  constructor(call: Call, errand: Errand | undefined, by: TaskBy, spent: readonly UseCount[] = nothing) {
    this.call = call;
    this.errand = errand;
    this.by = by;
    this.#spent = spent;
  }

  /** Gives back the uses of its handles: the call was refused, and nothing left. */
  giveBackUses(): void {
    for (const uses of this.#spent) uses.giveBack();
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Attributed = AttributedCall;

/** Port: ends a task whose deadline has passed, before anything is done in it. */
export interface OverdueTasks {
  endOverdue(task: Task): void;
}

/** What the ladder looks tasks up in. */
export interface Ladder {
  readonly handles: HandleBook;
  readonly trace: TraceRung;
  readonly tasks: OverdueTasks;
  /** What must not leave where it does not belong. */
  readonly secrets: KnownSecrets;
  /** The task in which the agent acts for itself, where the configuration has one. */
  readonly standing: Task | undefined;
  /** Whether the agent may open tasks itself. */
  readonly opensTasks: boolean;
}

/**
 * Finds the task of a call by the ladder of DESIGN 4. The first rung that is present decides, and a wrong one refuses: a call is never
 * given to a task by guess (W11). Nothing but a handle or a trace that began here says "this task", whoever else is on the connection.
 */
export function identify(call: Call, ladder: Ladder): Attributed {
  checkLeak(call, ladder);
  const inHeader = findInHeaders(call, ladder.handles);
  const inProxy = findInProxy(call, ladder.handles);
  if (inHeader !== undefined && inProxy !== undefined && inHeader.task !== inProxy.task)
    throw new Refusal('task_conflict');
  const handle = inHeader ?? inProxy;
  const traced = findByTrace(call, ladder.trace);
  const task = handle?.task ?? traced;
  if (task !== undefined) ladder.tasks.endOverdue(task);
  if (handle !== undefined) {
    if (traced !== undefined && traced !== handle.task) throw new Refusal('task_conflict');
    const { socket } = call.request;
    checkHandle(handle, call.tool.name, socket);
    if (inProxy !== undefined && inProxy !== handle) checkHandle(inProxy, call.tool.name, socket);
    const spent = spendUses(handle, inProxy ?? handle);
    const by = inHeader === undefined ? 'proxy' : 'handle';
    return new AttributedCall(call, handle.task.errand(call.tool.name), by, spent);
  }
  if (traced !== undefined) {
    checkTraced(traced, call);
    return new AttributedCall(call, traced.errand(call.tool.name), 'trace');
  }
  if (!call.tool.credentialed) return new AttributedCall(call, undefined, 'none');
  const standing = openStanding(ladder);
  if (standing === undefined || !isForPeer(standing, call.request.socket))
    throw new Refusal('task_unknown', unknownDetail(call), undefined, rungsFor(call, ladder));
  if (!standingMayUse(call.tool.settings.on_behalf_of)) throw new Refusal('subject_required');
  return new AttributedCall(call, standing.errand(call.tool.name), 'standing');
}

/** The standing task; one that was revoked is none, as after a restart: a call that brings no handle uses no old one. */
function openStanding({ standing }: Ladder): Task | undefined {
  return standing?.state === 'open' ? standing : undefined;
}

/** Whether a call to this tool, without a handle, would be made in the standing task. */
export function isStandingFor(tool: Tool, ladder: Ladder): boolean {
  return openStanding(ladder) !== undefined && standingMayUse(tool.settings.on_behalf_of);
}

/** The rung of a CONNECT: it holds for the whole tunnel. Refuses a wrong handle before the tunnel is opened. */
export function checkProxyCredential(
  value: string,
  ladder: Ladder,
  tools: readonly string[],
  socket: Socket,
): 'handle' | 'none' {
  const handle = findHandle(value, ladder.handles);
  if (handle === undefined) return 'none';
  ladder.tasks.endOverdue(handle.task);
  const tool = handle.tool !== undefined && tools.includes(handle.tool) ? handle.tool : (tools[0] ?? '');
  checkHandle(handle, tool, socket);
  return 'handle';
}

/** Whether a call to this tool could be made in the standing task. */
export function standingMayUse(onBehalfOf: 'user' | 'workload' | 'agent' | 'any'): boolean {
  return onBehalfOf === 'agent' || onBehalfOf === 'any';
}

function findInHeaders(call: Call, handles: HandleBook): Handle | undefined {
  const { credentials } = call.headers;
  let found: Handle | undefined;
  for (let at = 0; at < credentials.length; at += 2) {
    const name = (credentials[at] ?? '').toLowerCase();
    // A header that another tool names for its handle is the agent's own data here.
    if (name !== 'authorization' && name !== 'x-api-key' && !call.tool.headers.includes(name)) continue;
    const handle = findHandle(credentials[at + 1] ?? '', handles);
    if (handle === undefined) continue;
    if (found !== undefined && found.task !== handle.task) throw new Refusal('task_conflict');
    if (found !== undefined) checkHandle(found, call.tool.name, call.request.socket);
    found = handle;
  }
  return found;
}

/** The credential for the proxy. Inside a tunnel a client may send one more: it may not name another task than the CONNECT did. */
function findInProxy(call: Call, handles: HandleBook): Handle | undefined {
  const outer = call.proxyAuthorization === undefined ? undefined : findHandle(call.proxyAuthorization, handles);
  const own = call.headers.proxyAuthorization;
  if (own === undefined || own === call.proxyAuthorization) return outer;
  const inner = findHandle(own, handles);
  if (outer !== undefined && inner !== undefined && outer.task !== inner.task) throw new Refusal('task_conflict');
  return outer ?? inner;
}

/** The handle that a value of a header carries in any form that clients make of it; undefined where it is the agent's own value. */
export function findHandle(value: string, handles: HandleBook): Handle | undefined {
  const spelled = handles.findSpelled(value);
  if (spelled !== undefined) return spelled;
  const text = findHandleText(value);
  if (text === undefined) return undefined;
  const found = handles.find(text);
  if (found === 'unknown') throw new Refusal('handle_unknown');
  if (found === 'previous_process') throw new Refusal('handle_previous_process');
  return found;
}

function checkHandle(handle: Handle, tool: string, socket: Socket): void {
  if (handle.task.state !== 'open') throw new HandleRefusal('handle_ended', undefined, handle.task);
  if (handle.tool !== undefined && handle.tool !== tool) {
    const detail = `The handle was issued for ${handle.tool} and was used at ${tool}.`;
    throw new HandleRefusal('handle_foreign_tool', detail, handle.task);
  }
  checkPeer(handle.task, socket);
  if (handle.uses?.isSpent === true) throw new HandleRefusal('handle_spent', undefined, handle.task);
}

/** A call uses each handle that it carries; a task's own, told twice, once. Nothing came in between since they were checked. */
function spendUses(first: Handle, second: Handle): readonly UseCount[] {
  const counts = new Set([first.uses, second.uses].filter((uses) => uses !== undefined));
  if (counts.size === 0) return nothing;
  for (const uses of counts) if (!uses.spend()) throw new HandleRefusal('handle_spent', undefined, first.task);
  return [...counts];
}

function unknownDetail(call: Call): string {
  return `The tool ${call.tool.name} is used within a task, and the call names none.`;
}
