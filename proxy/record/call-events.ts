import type { Decision } from '../decide/rules.ts';
import type { Bound } from '../bind/proof.ts';
import type { HeldCredential } from '../exchange/credential.ts';
import type { Attributed } from '../identify/ladder.ts';
import type { Call } from '../intercept/call.ts';
import type { Origin } from '../intercept/origin.ts';
import type { Refusal } from '../refusal.ts';
import { mayHoldHandle } from '../tasks/handle-text.ts';
import type { Task } from '../tasks/task.ts';
import { eventFields } from './event.ts';

/** How a forwarded call ended. */
export interface CallEnd {
  readonly status: number;
  readonly outcome: 'ok' | 'upstream_error' | 'aborted' | 'cut';
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** How far a call got before it was refused: the evidence that existed, and nothing that did not. */
export interface RefusedCall {
  readonly id: string;
  readonly refusal: Refusal;
  readonly status: number;
  /** Present from the stage on that made it. */
  readonly call?: Call | undefined;
  readonly attributed?: Attributed | undefined;
  /** Of the rules, where they were asked. */
  readonly decision?: Decision | undefined;
  /** What is known of a request that never became a call. Without query. */
  readonly target?:
    | { readonly method: string; readonly scheme?: string; readonly host: string; readonly port: number }
    | undefined;
}

/**
 * The members of `call.admitted` (WIRE 3). Text by hand, and what a task, a tool, an origin, a decision or a token says of itself is
 * rendered once: stringify of the whole object costs more than the hash chain. What comes from outside is escaped.
 * @param agentName `agent.name` as JSON text.
 */
export function admittedFields(bound: Bound, agentName: string): string {
  const { credential, proof } = bound;
  const { permit } = credential.routed;
  const { attributed } = permit;
  const { call } = attributed;
  let text = `"event":"call.admitted","id":"${call.id}","attempt":${bound.attempt},"way":"out"${whose(attributed)},"agent":${agentName}${targetOf(call)},"decision":${decisionOf(permit.decision)},"binding":"${call.tool.binding}"`;
  if (credential.held !== undefined) text += `,"credential":${credentialOf(credential.held)}`;
  if (proof !== undefined) text += `,"proof":{"kind":"${proof.kind}","id":"${proof.id}"}`;
  return `${text},"chain":[]`;
}

export function endedFields(id: string, attempt: number, end: CallEnd, ms: number): string {
  return `"event":"call.ended","id":"${id}","attempt":${attempt},"status":${end.status},"outcome":"${end.outcome}","bytes_in":${end.bytesIn},"bytes_out":${end.bytesOut},"ms":${Math.round(ms * 10) / 10}`;
}

export function refusedFields(refused: RefusedCall, agentName: string): string {
  const { refusal, call, attributed, decision, target } = refused;
  const { kind } = refusal;
  const members: Record<string, unknown> = {
    id: refused.id,
    way: 'out',
    stage: kind.stage,
    code: refusal.code,
    status: refused.status,
  };
  if (kind.replay !== undefined) members['replay'] = { reason: refusal.code, grade: kind.replay };
  if (target !== undefined) members['target'] = target;
  if (decision !== undefined) members['decision'] = decision;
  let text = eventFields('call.refused', members);
  if (attributed !== undefined) text += whose(attributed);
  text += `,"agent":${agentName}`;
  return call === undefined ? text : text + targetOf(call);
}

const tasks = new WeakMap<Task, string>();

function whose({ errand, by }: Attributed): string {
  if (errand === undefined) return `,"task_by":"${by}"`;
  const { task } = errand;
  let known = tasks.get(task);
  if (known === undefined) {
    const { iss, sub } = task.subject;
    known = `,"txn":"${task.txn}","subject":${JSON.stringify({ iss, sub })},"task_by":"`;
    tasks.set(task, known);
  }
  return `${known}${by}"`;
}

const origins = new WeakMap<Origin, string>();

function targetOf(call: Call): string {
  const { origin } = call.target;
  let known = origins.get(origin);
  if (known === undefined) {
    const { scheme, host, port } = origin;
    known = `${JSON.stringify({ scheme, host, port }).slice(1, -1)},"path":`;
    origins.set(origin, known);
  }
  // Refused as a leak or not, also of an earlier process: a path that holds a handle is no text for others to read (W8).
  const path = mayHoldHandle(call.rawPath) ? '[withheld]' : call.rawPath;
  // Methods are tokens (RFC 9110 5.6.2) and names of tools identifiers: neither holds what JSON escapes.
  return `,"tool":"${call.tool.name}","target":{"method":"${call.method}",${known}${JSON.stringify(path)}}`;
}

const decisions = new WeakMap<Decision, string>();

function decisionOf(decision: Decision): string {
  let known = decisions.get(decision);
  if (known === undefined) {
    const { rule, effect, mode, observed } = decision;
    known = JSON.stringify({ rule, effect, mode, observed: observed.length > 0 ? observed : undefined });
    decisions.set(decision, known);
  }
  return known;
}

const credentials = new WeakMap<HeldCredential['token'], Record<HeldCredential['from'], string>>();

function credentialOf({ token, from }: HeldCredential): string {
  let known = credentials.get(token);
  if (known === undefined) {
    const { service, id, audience, scopes } = token;
    const expires = new Date(token.expiresAtMs).toISOString();
    const render = (source: HeldCredential['from']): string =>
      JSON.stringify({ service, id, audience, scopes, from: source, expires_at: expires });
    known = { cache: render('cache'), exchange: render('exchange') };
    credentials.set(token, known);
  }
  return known[from];
}
