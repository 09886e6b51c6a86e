import { z } from 'zod';
import { meantAsSpiffeId } from '../../config/text.ts';
import { InvalidSpiffeId, SpiffeId } from '../spiffe/spiffe-id.ts';
import type { Principal } from '../tasks/principals.ts';
import { Problem } from './problem.ts';
import { parse } from './task-request.ts';

/** What is revoked: one task, or a principal with all that is open of it. */
export type Revocable = Principal | { readonly kind: 'task'; readonly txn: string };

/** Body of `POST /v1/revoke` (WIRE 1), or what a signal asks for. */
export interface RevokeRequest {
  readonly what: Revocable;
  readonly reason: string;
  /** A subject goes on with what was issued from then on; undefined: everything that is open ends, and this moment counts. */
  readonly beforeMs?: number | undefined;
}

/** No token names anybody by half of a surrogate pair: to say "done" would be believed. */
const text = z.string().refine((value) => value.isWellFormed(), { error: 'holds half of a letter' });

const request = z.strictObject({
  // Of a transaction token it may be any text.
  task: text.min(1).max(4096).optional(),
  // The issuer is empty for a workload that is its own subject.
  subject: z.strictObject({ iss: text.max(1024), sub: text.min(1).max(1024) }).optional(),
  agent: text.min(1).max(2048).check(checkAgent).optional(),
  tool: text.min(1).max(100).optional(),
  all: z.literal(true).optional(),
  reason: z.string().min(1).max(500),
});

/**
 * What looks like a SPIFFE ID and is none names nobody: to say "done" would be believed. `agent.name` is refused if it looks so. Other
 * names may hold a `/` as well: `agent.name` may, and so may an actor of a token (`act.sub`), whom its issuer names.
 */
function checkAgent({ value, issues }: z.core.ParsePayload<string>): void {
  if (!meantAsSpiffeId.test(value)) return;
  try {
    SpiffeId.parseWorkload(value);
  } catch (error) {
    if (!(error instanceof InvalidSpiffeId)) throw error;
    const message = `is no SPIFFE ID (${error.fault}); a workload is named in full: spiffe://TRUST-DOMAIN/PATH`;
    issues.push({ code: 'custom', message, input: value });
  }
}

/** Throws `request_invalid`. Two principals in one request are refused: nobody should guess which of them was meant. */
export function parseRevokeRequest(body: unknown): RevokeRequest {
  const { task, subject, agent, tool, all, reason } = parse(request, body);
  const named: Revocable[] = [];
  if (task !== undefined) named.push({ kind: 'task', txn: task });
  if (subject !== undefined) named.push({ kind: 'subject', ...subject });
  if (agent !== undefined) named.push({ kind: 'agent', id: agent });
  if (tool !== undefined) named.push({ kind: 'tool', name: tool });
  if (all !== undefined) named.push({ kind: 'all' });
  const [what, ...more] = named;
  if (what === undefined || more.length > 0)
    throw new Problem('request_invalid', 'Name exactly one of task, subject, agent, tool and all.');
  return { what, reason };
}
