import { bindingOf, type ExitPermit } from '../decide/permit.ts';
import type { Bound } from '../bind/proof.ts';
import type { HeldCredential } from '../exchange/credential.ts';
import type { Attributed } from '../identify/ladder.ts';
import type { Call } from '../intercept/call.ts';
import { withoutQuery } from '../intercept/path.ts';
import type { IssuedToken } from '../exchange/issued-token.ts';
import type { Refusal } from '../refusal.ts';
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
  readonly permit?: ExitPermit | undefined;
  /** What is known of a request that never became a call. Without query. */
  readonly target?:
    | { readonly method: string; readonly scheme?: string; readonly host: string; readonly port: number }
    | undefined;
}

const credentials = new WeakMap<IssuedToken, { cache: string; exchange: string }>();

/**
 * The members of `call.admitted` (WIRE 3). Text by hand: stringify of the whole object costs more than the hash chain. What comes from
 * the agent (path, method) and from names of the configuration is escaped; the rest is of our own alphabet.
 * @param agentName `agent.name` as JSON text.
 */
export function admittedFields(bound: Bound, agentName: string): string {
  const { permit } = bound.credential.routed;
  const { call } = permit.attributed;
  const { held } = bound.credential;
  const { decision } = permit;
  let text = `"event":"call.admitted","id":"${call.id}","attempt":${bound.attempt},"way":"out"${whose(permit.attributed)},"agent":${agentName}`;
  text += `,"tool":"${call.tool.name}"${targetOf(call)},"decision":{"rule":${JSON.stringify(decision.rule)},"effect":"${decision.effect}","mode":"${decision.mode}"`;
  if (decision.observed.length > 0) text += `,"observed":${JSON.stringify(decision.observed)}`;
  text += `},"binding":"${bindingOf(call.tool)}"`;
  if (held !== undefined) text += `,"credential":${credentialOf(held)}`;
  if (bound.proof !== undefined) text += `,"proof":{"kind":"${bound.proof.kind}","id":"${bound.proof.id}"}`;
  return `${text},"chain":[]`;
}

export function endedFields(id: string, attempt: number, end: CallEnd, ms: number): string {
  return `"event":"call.ended","id":"${id}","attempt":${attempt},"status":${end.status},"outcome":"${end.outcome}","bytes_in":${end.bytesIn},"bytes_out":${end.bytesOut},"ms":${Math.round(ms * 10) / 10}`;
}

export function refusedFields(refused: RefusedCall, agentName: string): string {
  const { refusal, call, attributed, permit, target } = refused;
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
  if (permit !== undefined) members['decision'] = permit.decision;
  let text = eventFields('call.refused', members);
  if (attributed !== undefined) text += whose(attributed);
  text += `,"agent":${agentName}`;
  if (call !== undefined) text += `,"tool":"${call.tool.name}"${targetOf(call)}`;
  return text;
}

function whose(attributed: Attributed): string {
  const { errand, by } = attributed;
  if (errand === undefined) return `,"task_by":"${by}"`;
  const { txn, subject } = errand.task;
  return `,"txn":"${txn}","task_by":"${by}","subject":{"iss":${JSON.stringify(subject.iss)},"sub":${JSON.stringify(subject.sub)}}`;
}

function targetOf(call: Call): string {
  const { scheme, host, port, path } = call.target;
  return `,"target":{"method":${JSON.stringify(call.method)},"scheme":"${scheme}","host":${JSON.stringify(host)},"port":${port},"path":${JSON.stringify(withoutQuery(path))}}`;
}

function credentialOf(held: HeldCredential): string {
  const { token, from } = held;
  let known = credentials.get(token);
  if (known === undefined) {
    const text = (source: string): string =>
      JSON.stringify({
        service: token.service,
        id: token.id,
        audience: token.audience,
        scopes: token.scopes,
        from: source,
        expires_at: new Date(token.expiresAtMs).toISOString(),
      });
    known = { cache: text('cache'), exchange: text('exchange') };
    credentials.set(token, known);
  }
  return known[from];
}
