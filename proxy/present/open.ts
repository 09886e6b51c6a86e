import type { EntryPermit } from '../decide/entry-permit.ts';
import { Refusal } from '../refusal.ts';
import type { Allowance } from '../tasks/purposes.ts';
import type { Lingering } from '../tasks/lingering.ts';
import type { TaskGrant, TaskSubject } from '../tasks/task.ts';
import type { OpenedTask } from '../tasks/opened-task.ts';
import type { TaskBook, TaskRequest } from '../tasks/task-book.ts';
import { TaskRejected } from '../tasks/task-rejected.ts';
import type { InboundToken } from '../verify/inbound-token.ts';
import type { Verified } from '../verify/verify.ts';
import type { PresentMode } from './present.ts';

/** A permitted request with the task that it opened. */
class OpenedCall {
  readonly #made = true;
  readonly permit: EntryPermit;
  readonly opened: OpenedTask;
  /** Whose share of the open tasks it takes. */
  readonly owner: string;
  /** It ends as it began, whatever the configuration has become meanwhile. */
  readonly door: TaskDoor;

  constructor(permit: EntryPermit, opened: OpenedTask, owner: string, door: TaskDoor) {
    this.permit = permit;
    this.opened = opened;
    this.owner = owner;
    this.door = door;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Opened = OpenedCall;

/** How requests open tasks. */
export interface TaskDoor {
  readonly book: TaskBook;
  /** Purpose of tasks whose callers name none (`agent.purpose`). */
  readonly purpose: string;
  readonly allow: (purpose: string) => Allowance;
  readonly deadlineMs: number;
  /** Issuers of the tokens that tasks may be opened with. */
  readonly issuers: ReadonlySet<string>;
  /** Where tasks wait for their end after the answer; undefined where they outlive their request. */
  readonly lingering: Lingering | undefined;
  /** Whether requests carry the mark of their task in their trace. */
  readonly traced: boolean;
  /** Most open tasks of one caller and subject: one caller must not fill the book. */
  readonly maxOpenPerCaller: number;
}

const accessToken = 'urn:ietf:params:oauth:token-type:access_token';

/**
 * What `open` would throw for want of room, to be known before anything is spent: it says that the request may be sent again. Ends no task
 * to make room, for the request may be a replay.
 */
export function lackOfRoom(verified: Verified, door: TaskDoor): Refusal | undefined {
  if (!door.book.isCurrent) return new Refusal('fleet_unavailable');
  const { owner } = standingOf(verified);
  const lack = door.book.lackFor({ share: { owner, max: door.maxOpenPerCaller } });
  return lack === undefined || door.lingering?.hasRoomToMake(owner, lack) === true ? undefined : tooManyOpen();
}

/**
 * Opens the task of a request (DESIGN 4 a): for whom the token says, for the purpose that a signed link names, and no longer than either.
 * @param shown What the program gets to see: with the `original` nobody would be told a handle.
 */
export function open(permit: EntryPermit, shown: PresentMode, door: TaskDoor): Opened {
  const { verified } = permit.claimed;
  const { token, chain, caller } = verified;
  const purpose = chain?.purpose ?? door.purpose;
  const allowance = door.allow(purpose);
  if (allowance.kind !== 'allowed')
    throw new Refusal('denied_by_rule', 'The configuration does not know the purpose of this delegation.');
  const standing = standingOf(verified);
  // Its body may have come for so long that the issuer is trusted no more: tasks of such issuers were ended when that became so.
  if (standing.grant !== undefined && !door.issuers.has(standing.grant.iss))
    throw new Refusal('token_invalid', 'The issuer of the access token is not trusted any more.');
  const request: TaskRequest = {
    subject: standing.subject,
    grant: standing.grant,
    purpose,
    tools: allowance.tools,
    handles: shown === 'original' ? 'none' : 'one',
    traced: door.traced,
    lifeMs: door.deadlineMs,
    by: 'request',
    caller,
    issuedAtMs: issueTimeOf(verified),
    callerIssuedAtMs: verified.peer?.notBeforeMs,
    share: { owner: standing.owner, max: door.maxOpenPerCaller },
    chain,
    txnToken: verified.txnToken,
  };
  const lack = door.book.lackFor(request);
  if (lack !== undefined) door.lingering?.makeRoom(standing.owner, lack);
  try {
    return new OpenedCall(permit, door.book.open(request), standing.owner, door);
  } catch (error) {
    if (error instanceof TaskRejected && error.reason === 'too_many') throw tooManyOpen();
    if (error instanceof TaskRejected && error.reason === 'revoked') throw revokedBefore(verified);
    if (error instanceof TaskRejected && error.reason === 'not_current') throw new Refusal('fleet_unavailable');
    if (error instanceof TaskRejected)
      throw new Refusal('token_invalid', `The ${token === undefined ? 'certificate' : 'token'} is about to end.`);
    throw error;
  }
}

function tooManyOpen(): Refusal {
  return new Refusal('overloaded', 'Too many tasks are open.');
}

/** When what the request comes with was issued, as far as that says. */
function issueTimeOf({ token, peer }: Verified): number | undefined {
  if (token === undefined) return peer?.notBeforeMs;
  const { iat } = token.claims;
  return typeof iat === 'number' ? iat * 1000 : undefined;
}

function revokedBefore({ token }: Verified): Refusal {
  return token === undefined
    ? new Refusal('caller_not_allowed', 'The certificate was issued before this caller was revoked.')
    : new Refusal('token_invalid', 'The access token is not valid here (revoked).');
}

/**
 * Ends the task of a request that is over, after it lingered: an agent may finish its calls just after its answer. A task that outlives
 * its request is left to the program that took it; where none did, nobody else could end it, and it would be in the way of its caller's
 * next ones.
 */
export function close({ opened: { task }, owner, door }: Opened, isTaken: boolean): void {
  if (door.lingering !== undefined) door.lingering.add(task, owner);
  else if (!isTaken && task.state === 'open') door.book.end(task.txn, 'failed', 'unanswered', 'request');
}

/** What all tasks of one caller with one token have in common: made for the first of them, and held once however many are open. */
interface Standing {
  readonly caller: string;
  readonly subject: TaskSubject;
  readonly grant: TaskGrant | undefined;
  /** Names the share of the open tasks that they take. */
  readonly owner: string;
}

const standings = new WeakMap<InboundToken, Standing>();

function standingOf({ token, caller }: Verified): Standing {
  if (token === undefined) return makeStanding(token, caller);
  let known = standings.get(token);
  if (known?.caller !== caller) {
    known = makeStanding(token, caller);
    standings.set(token, known);
  }
  return known;
}

/**
 * A caller without a user is itself the subject, and has no grant: an SVID is nobody's delegation. Its tasks go out under our own
 * identity.
 */
function makeStanding(token: InboundToken | undefined, caller: string): Standing {
  const owner = JSON.stringify([caller, token?.iss, token?.sub]);
  if (token === undefined || token.kind === 'jwt-svid') {
    return { caller, subject: { iss: '', sub: token?.sub ?? caller, kind: 'workload' }, grant: undefined, owner };
  }
  const { text, iss, sub, expiresAtMs, act, jti } = token;
  const grant = {
    token: text,
    tokenType: accessToken,
    iss,
    sub,
    expiresAtMs,
    jti,
    ...(act === undefined ? {} : { act }),
  };
  return { caller, subject: { iss, sub, kind: 'user' }, grant, owner };
}
