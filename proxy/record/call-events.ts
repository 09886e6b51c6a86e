import type { Decision } from '../decide/rules.ts';
import type { Bound } from '../bind/proof.ts';
import type { Presented } from '../present/present.ts';
import type { InboundToken } from '../verify/inbound-token.ts';
import type { CallerFacts, Verified } from '../verify/verify.ts';
import type { Admissible } from './admit.ts';
import type { HeldCredential } from '../exchange/credential.ts';
import type { Attributed } from '../identify/ladder.ts';
import type { Call } from '../intercept/call.ts';
import type { Origin } from '../intercept/origin.ts';
import { UnprovenRefusal, type Refusal, type Way } from '../refusal.ts';
import { mayHoldHandle, mayHoldToken } from '../tasks/handle-text.ts';
import type { Task } from '../tasks/task.ts';
import { eventFields } from './event.ts';
import { subjectFields } from './task-events.ts';
import { holdsPartOf } from './token-parts.ts';

/** How a forwarded call ended. */
export interface CallEnd {
  readonly status: number;
  readonly outcome: 'ok' | 'upstream_error' | 'aborted' | 'cut';
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Whether the tool's answer held the credential, which the agent saw as stars. */
  readonly masked: boolean;
}

/** A connection that ended before there was a request on it. */
interface EndedConnection {
  /** One of our own words, or one of OpenSSL's. */
  readonly cause: string;
  /** Address of the caller. */
  readonly peer: string | undefined;
  /** Others alike since the last that was told, which are only counted; undefined for none. */
  readonly suppressed: number | undefined;
}

/** How far a call got before it was refused: the evidence that existed, and nothing that did not. */
export interface RefusedCall {
  readonly id: string;
  readonly way: Way;
  readonly refusal: Refusal;
  readonly status: number;
  /** Present from the stage on that made it. */
  readonly call?: Call | undefined;
  readonly attributed?: Attributed | undefined;
  /** Of a handle or a trace that was used wrongly: whose it is. */
  readonly misused?: { readonly task: Task; readonly by: 'handle' | 'trace' } | undefined;
  /** Where there was no request. */
  readonly connection?: EndedConnection | undefined;
  /** On the way in, what is known of who called. */
  readonly caller?: CallerFacts | undefined;
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
export function admittedFields(sent: Admissible, agentName: string): string {
  return sent.way === 'out' ? outFields(sent, agentName) : inFields(sent, agentName);
}

function outFields(bound: Bound, agentName: string): string {
  const { credential, proof, call } = bound;
  const { permit } = credential.routed;
  const { attributed } = permit;
  let text = `"event":"call.admitted","id":"${call.id}","attempt":${bound.attempt},"way":"out"${whose(attributed)},"agent":${agentName}${targetOf(call)},"decision":${decisionOf(permit.decision)},"binding":"${call.tool.binding}"`;
  if (credential.held !== undefined) text += `,"credential":${credentialOf(credential.held)}`;
  if (proof !== undefined) text += `,"proof":{"kind":"${proof.kind}","id":"${proof.id}"}`;
  return `${text},"chain":${JSON.stringify(bound.chain)}`;
}

function inFields(presented: Presented, agentName: string): string {
  const { call, verified, task } = presented;
  const { permit } = presented.opened;
  const text = `"event":"call.admitted","id":"${call.id}","attempt":1,"way":"in"${renderTask(task)}request","agent":${agentName}${targetOf(call, verified.token)},"decision":${decisionOf(permit.decision)},"binding":"${bindingOf(verified)}"${callerFields(verified)}`;
  return text + proofFields(verified);
}

/** A `jti` is whatever the caller likes, also a handle or a part of the token (W8). */
function proofFields({ proof, chain, token }: CallerFacts): string {
  let proved = '';
  if (proof !== undefined) {
    const { jti } = proof;
    const isSecret = mayHoldHandle(jti) || mayHoldToken(jti) || holdsPartOf(token, jti);
    proved = `,"proof":{"kind":"dpop","id":${JSON.stringify(isSecret ? '[withheld]' : jti)}}`;
  }
  return `${proved},"chain":${JSON.stringify(chain?.path ?? [])}`;
}

function bindingOf({ proof, peer }: Verified): string {
  if (proof !== undefined) return 'request';
  return peer === undefined ? 'audience' : 'key';
}

const callerTokens = new WeakMap<InboundToken, string>();

/** Who called and with which token: the token by its hash, never by its text. */
function callerFields({ token, caller }: CallerFacts): string {
  const text = caller === '' ? '' : `,"caller":${JSON.stringify(caller)}`;
  if (token === undefined) return text;
  let known = callerTokens.get(token);
  if (known === undefined) {
    const { iss, expiresAtMs } = token;
    const facts = { service: iss, id: token.text.id, from: 'caller', expires_at: new Date(expiresAtMs).toISOString() };
    known = `,"credential":${JSON.stringify(facts)}`;
    callerTokens.set(token, known);
  }
  return text + known;
}

export function endedFields(id: string, attempt: number, end: CallEnd, ms: number): string {
  return `"event":"call.ended","id":"${id}","attempt":${attempt},"status":${end.status},"outcome":"${end.outcome}","bytes_in":${end.bytesIn},"bytes_out":${end.bytesOut},"ms":${Math.round(ms * 10) / 10}${end.masked ? ',"masked":true' : ''}`;
}

export function refusedFields(refused: RefusedCall, agentName: string): string {
  const { refusal, call, attributed, decision, target } = refused;
  const { kind } = refusal;
  const members: Record<string, unknown> = {
    id: refused.id,
    way: refused.way,
    stage: kind.stage,
    code: refusal.code,
    status: refused.status,
  };
  if (kind.replay !== undefined) members['replay'] = { reason: refusal.code, grade: kind.replay };
  if (refusal.serviceError !== undefined) members['cause'] = refusal.serviceError;
  if (refusal instanceof UnprovenRefusal) Object.assign(members, { cause: refusal.why, file: refusal.file });
  Object.assign(members, refused.connection);
  if (target !== undefined) members['target'] = { ...target, host: recordedHost(target.host, call?.tool) };
  if (decision !== undefined) members['decision'] = decision;
  let text = eventFields('call.refused', members);
  if (attributed !== undefined) text += whose(attributed);
  if (refused.misused !== undefined) text += `${ofTask(refused.misused.task)}${refused.misused.by}"`;
  if (refused.caller !== undefined)
    text += subjectOf(refused.caller) + callerFields(refused.caller) + proofFields(refused.caller);
  text += `,"agent":${agentName}`;
  // A leak that was found before the task may stand in the path, in whatever form.
  const isWithheld = refusal.code === 'credential_leak' && attributed === undefined;
  return call === undefined ? text : text + targetOf(call, refused.caller?.token, isWithheld);
}

const tasks = new WeakMap<Task, string>();

function whose({ errand, by }: Attributed): string {
  return errand === undefined ? `,"task_by":"${by}"` : `${ofTask(errand.task)}${by}"`;
}

/** Ends within the value of `task_by`. */
function ofTask(task: Task): string {
  let known = tasks.get(task);
  if (known === undefined) {
    known = renderTask(task);
    tasks.set(task, known);
  }
  return known;
}

/** Not kept for a request of the way in: its task has just this one admission. */
function renderTask({ txn, subject }: Task): string {
  return `,"txn":"${txn}",${subjectFields(subject)},"task_by":"`;
}

/** A caller without a token is itself the subject. */
function subjectOf({ token, caller }: CallerFacts): string {
  if (token === undefined && caller === '') return '';
  return `,"subject":${JSON.stringify({ iss: token?.kind === 'access' ? token.iss : '', sub: token?.sub ?? caller })}`;
}

/** How a handle begins in hex, and a JWT in the small letters of a host: no JWT is as short as names with these letters are. */
const secretInHost = /7762685f|eyj[a-z0-9_-]{29}/;

/** A host is the agent's choice where a tool takes any: one that holds a handle or a token, in labels or whole, is withheld (W8). */
function recordedHost(host: string, tool: Call['tool'] | undefined): string {
  if (host === tool?.host) return host;
  return mayHoldHandle(host) || secretInHost.test(host.replaceAll('.', '')) ? '[withheld]' : host;
}

const origins = new WeakMap<Origin, string>();

function targetOf(call: Call, token?: InboundToken, isWithheld = false): string {
  const { origin } = call.target;
  let known = origins.get(origin);
  if (known === undefined) {
    const { scheme, port } = origin;
    known = `${JSON.stringify({ scheme, host: recordedHost(origin.host, call.tool), port }).slice(1, -1)},"path":`;
    origins.set(origin, known);
  }
  // Refused as a leak or not, also of an earlier process: a path that holds a handle or a token is no text for others to read (W8).
  const { rawPath } = call;
  const holds = isWithheld || mayHoldHandle(rawPath) || mayHoldToken(rawPath) || holdsPartOf(token, rawPath);
  const path = holds ? '[withheld]' : rawPath;
  // A host that a tool does not name is the agent's own text as well.
  if (isWithheld && call.tool.host !== origin.host) known = known.replace(JSON.stringify(origin.host), '"[withheld]"');
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
    const { expiresAtMs } = token;
    // A static key of a tool has no end.
    const expires = expiresAtMs === undefined ? undefined : new Date(expiresAtMs).toISOString();
    const render = (source: HeldCredential['from']): string =>
      JSON.stringify({ service, id, audience, scopes, from: source, expires_at: expires });
    known = { cache: render('cache'), exchange: render('exchange'), file: render('file') };
    credentials.set(token, known);
  }
  return known[from];
}
