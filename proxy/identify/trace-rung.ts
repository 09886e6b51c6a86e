import type { Call } from '../intercept/call.ts';
import { Refusal } from '../refusal.ts';
import { isFromHere } from '../tasks/peer.ts';
import { isRiskier } from '../tasks/purposes.ts';
import type { Task } from '../tasks/task.ts';
import type { TraceMarks } from '../tasks/trace-mark.ts';
import { HandleRefusal } from './handle-refusal.ts';
import { checkPeer } from './peer-check.ts';

/** Rung 3 of the ladder: the member `waybill` of `tracestate`, which tracing carries from the request of the way in. */
export interface TraceRung {
  readonly marks: TraceMarks;
  /** Gravest risk of a tool at which it counts (`tasks.trace_rung`). */
  readonly upTo: string;
  /** Whether requests of the way in are given marks, so that there are any. */
  readonly isGiven: boolean;
}

/** Whether marks count at a tool of this risk. */
export function countsAt(risk: string, upTo: string): boolean {
  return upTo !== 'off' && !isRiskier(risk, upTo);
}

/** Whether a call could say by its trace for which task it is made: from this machine, and at a tool that is not too grave. */
export function mayBeTraced(call: Call, { upTo }: TraceRung): boolean {
  return countsAt(call.tool.settings.risk, upTo) && isFromHere(call.request.socket);
}

/**
 * The task that a call's trace names; undefined where it names none, or where the rung is not there. Two members are two tasks, or one
 * told twice: the specification knows neither, and nobody may choose (W11).
 */
export function findByTrace(call: Call, rung: TraceRung): Task | undefined {
  const { traceMarks } = call.headers;
  if (traceMarks === undefined || !mayBeTraced(call, rung)) return undefined;
  let found: Task | undefined;
  for (const text of traceMarks) {
    const task = rung.marks.find(text);
    if (task === undefined) continue;
    if (task === 'unknown') throw new Refusal('handle_unknown', 'The trace of the call names no task of this sidecar.');
    if (task === 'previous_process')
      throw new Refusal('handle_previous_process', 'The trace of the call began before the sidecar was restarted.');
    if (found !== undefined && found !== task) throw new Refusal('task_conflict');
    found = task;
  }
  return found;
}

/** A trace outlives its task easily: work that goes on behind the answer is refused, and never given to another task. */
export function checkTraced(task: Task, { request }: Call): void {
  if (task.state !== 'open')
    throw new HandleRefusal('handle_ended', 'The task that the trace of the call names has ended.', task, 'trace');
  checkPeer(task, request.socket, 'trace');
}
