import { digestOf } from '../delegation/link.ts';
import { readActors } from '../trust/act-claim.ts';
import type { TaskChain, TaskGrant, TaskSubject } from './task.ts';

/** Whom or what the kill switch takes out: a subject, a single token, a workload by its SPIFFE ID or name, a tool, or everything. */
export type Principal =
  /** By the hash of its `jti`, as the root of a chain and the store of a fleet know it: it is made once, where the token is named. */
  | { readonly kind: 'token'; readonly iss: string; readonly jti_hash: string }
  | { readonly kind: 'subject'; readonly iss: string; readonly sub: string }
  | { readonly kind: 'agent'; readonly id: string }
  | { readonly kind: 'tool'; readonly name: string }
  | { readonly kind: 'all' }
  /** Whoever was revoked, and is not remembered any more: all that was issued before, and not the standing task, which comes with nothing. */
  | { readonly kind: 'forgotten' };

/** What of a task, or of a request for one, says whose it is. */
export interface Belonging {
  readonly subject: TaskSubject;
  readonly grant: TaskGrant | undefined;
  /** SPIFFE ID of the workload whose request it is, or empty. */
  readonly caller?: string;
  readonly chain?: TaskChain | undefined;
}

/** One text for each principal: what cut-offs are kept under. */
export function keyOf(principal: Principal): string {
  switch (principal.kind) {
    case 'token':
      return JSON.stringify(['token', principal.iss, principal.jti_hash]);
    case 'subject':
      return JSON.stringify(['subject', principal.iss, principal.sub]);
    case 'agent':
      return JSON.stringify(['agent', principal.id]);
    case 'tool':
      return JSON.stringify(['tool', principal.name]);
    default:
      return JSON.stringify([principal.kind]);
  }
}

/** The token that has this `jti`. */
export function tokenOf(iss: string, jti: string): Principal & { readonly kind: 'token' } {
  return { kind: 'token', iss, jti_hash: digestOf(jti) };
}

/**
 * The workloads that have a hand in a task: we ourselves, who called, who stands in its signed chain, who acts by its token, and a
 * workload that is its own subject. An actor in a token grants nothing; that it is named is enough to stop it.
 * @param own names of our own agent: its SPIFFE ID, and its name in the configuration.
 */
export function agentsOf({ subject, grant, caller, chain }: Belonging, own: readonly string[]): ReadonlySet<string> {
  const actors = grant?.act === undefined ? [] : readActors(grant.act).map(({ sub }) => sub);
  const agents = new Set([...own, ...(chain?.path ?? []), ...actors]);
  if (caller !== undefined && caller !== '') agents.add(caller);
  if (subject.kind !== 'user') agents.add(subject.sub);
  return agents;
}

/** The tokens that a task is of: its own, and the one that its chain began with. */
export function tokensOf({ grant, chain }: Belonging): readonly (Principal & { readonly kind: 'token' })[] {
  const own = grant?.jti === undefined ? [] : [tokenOf(grant.iss, grant.jti)];
  if (chain === undefined) return own;
  const { iss, jti_hash } = chain.root;
  return [...own, { kind: 'token', iss, jti_hash }];
}

/** Whether a task ends when this principal is revoked. A tool ends no task: its credentials leave all of them. */
export function concerns(principal: Principal, task: Belonging, own: readonly string[]): boolean {
  switch (principal.kind) {
    case 'token':
      return tokensOf(task).some((token) => keyOf(token) === keyOf(principal));
    case 'subject':
      // Of a chain also whom it began with: the token beside it may name him otherwise, or there may be none.
      return [task.subject, task.chain?.root].some((one) => one?.iss === principal.iss && one.sub === principal.sub);
    case 'agent':
      return agentsOf(task, own).has(principal.id);
    case 'tool':
      return false;
    default:
      return true;
  }
}
