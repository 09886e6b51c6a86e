import type { EntryDesk } from './decide/entry-permit.ts';
import { RuleRefusal } from './decide/permit.ts';
import type { Decision } from './decide/rules.ts';
import { forward, type Road } from './forward/forward.ts';
import type { Lease, Upstreams } from './forward/upstream.ts';
import { unwatched } from './intercept/body-watch.ts';
import { declaresBody, noBody, readBody } from './intercept/body.ts';
import { interceptInbound, seenTarget, type Arrival, type Call, type InboundReader } from './intercept/call.ts';
import { renderInboundRefusal, type CurrentNonce } from './intercept/inbound-answer.ts';
import { answerRefusal, isToldAlready, noteJudged } from './intercept/answer.ts';
import { close, lackOfRoom, open, type Opened, type TaskDoor } from './present/open.ts';
import type { Origin } from './intercept/origin.ts';
import { present, type Presenter } from './present/present.ts';
import { admit } from './record/admit.ts';
import type { Trail } from './record/trail.ts';
import { refusalFrom, toldAsUnsure } from './refusal.ts';
import type { Way } from './route/egress-guard.ts';
import { checkBodyDigest, namesDigest } from './verify/body-digest.ts';
import { claim, type Spending } from './verify/claim.ts';
import { watchForm } from './verify/second-token.ts';
import { verifyAgain } from './verify/verify-again.ts';
import { CallerRefusal, verify, type Gate, type Verified } from './verify/verify.ts';
import type { World } from './world.ts';

/** The rooms of the way in, opened once by the sidecar. */
export interface IngressRooms {
  readonly world: World;
  readonly reader: InboundReader;
  readonly gate: Gate;
  readonly spending: Spending;
  readonly desk: EntryDesk;
  /** That of the configuration in force, whichever the request began with: a task must not open with what has just ended others. */
  readonly door: () => TaskDoor;
  readonly presenter: Presenter;
  readonly trail: Trail;
  readonly upstreams: Upstreams;
  readonly road: Road;
  /** Where the program behind us listens. */
  readonly program: { readonly origin: Origin; readonly way: Way };
  readonly nonce: CurrentNonce;
  /** Hears of faults, which are neither refusals nor expected: counts and logs them. */
  onFault(callId: string, error: unknown): void;
}

/** How far a request got: only for the record of its refusal, and to end what was begun. */
interface Progress {
  call?: Call;
  verified?: Verified;
  decision?: Decision;
  opened?: Opened;
  lease?: Lease;
  admitted: boolean;
  /** Whether the program may have done it, and would do it twice. */
  mayBeDone?: boolean;
  /** Whether the program took the request, and with it the task. */
  taken: boolean;
}

/**
 * The way in of one request, top to bottom. The order is the defence: nothing is spent before everything was verified (W6), no task is
 * opened for a request that was used before, and the program behind us sees none of what the caller was recognised by.
 */
async function ingress(arrival: Arrival, rooms: IngressRooms, inForce: () => Gate): Promise<void> {
  const progress: Progress = { admitted: false, taken: false };
  try {
    const call = (progress.call = interceptInbound(arrival, rooms.reader));
    const verified = (progress.verified = await verify(call, rooms.gate));
    const watch = watchForm(call, verified.credential) ?? unwatched;
    const body = declaresBody(call) ? await readBody(call, namesDigest(call), watch) : noBody;
    const gate = inForce();
    const again = body === noBody && gate === rooms.gate ? undefined : verifyAgain(verified, rooms.gate, gate);
    if (again !== undefined) await again;
    checkBodyDigest(call, body);
    const claimed = claim(verified, rooms.spending, lackOfRoom(verified, rooms.door()));
    const permit = rooms.desk.decide(claimed, rooms.world.now());
    progress.decision = permit.decision;
    const opened = (progress.opened = open(permit, rooms.presenter.mode, rooms.door()));
    const presented = present(opened, body, rooms.presenter);
    const admitted = await admit(presented, rooms.trail);
    progress.admitted = true;
    noteJudged(arrival, true);
    const lease = (progress.lease = rooms.upstreams.take(call.tool, rooms.program.origin, rooms.program.way));
    const sentAt = rooms.world.monotonic();
    const forwarded = await forward(admitted, lease, rooms.road);
    progress.mayBeDone = forwarded.kind === 'refused' && forwarded.mayBeDone;
    const endedAt = rooms.world.monotonic();
    const totalMs = endedAt - arrival.startedAt;
    rooms.trail.ended(presented, forwarded.end, totalMs);
    rooms.trail.over(call, forwarded.end, totalMs, endedAt - sentAt);
    if (forwarded.kind === 'refused') throw forwarded.refusal;
    progress.taken = forwarded.kind === 'ended' && forwarded.wasSent;
  } catch (error) {
    refuse(arrival, error, progress, rooms);
  } finally {
    progress.lease?.giveBack();
    if (progress.opened !== undefined) close(progress.opened, progress.taken);
  }
}

/**
 * Runs the way in of a request to its end. Should even the refusal fail, the connection is cut: nothing is left open (W1).
 * @param inForce who is let in by the configuration in force, whichever the request began with.
 */
export async function runIngress(arrival: Arrival, rooms: IngressRooms, inForce: () => Gate): Promise<void> {
  try {
    await ingress(arrival, rooms, inForce);
  } catch (error) {
    arrival.request.socket.destroy();
    rooms.onFault(arrival.id, error);
  }
}

function refuse(arrival: Arrival, error: unknown, progress: Progress, rooms: IngressRooms): void {
  const reason = refusalFrom(error, (fault) => rooms.onFault(arrival.id, fault));
  const refusal = progress.mayBeDone === true ? toldAsUnsure(reason) : reason;
  if (isToldAlready(arrival, refusal)) return;
  const answer = renderInboundRefusal(refusal, arrival.id, rooms.nonce);
  const { status } = answer;
  const { call, verified, admitted } = progress;
  const target = call === undefined ? seenTarget(arrival) : undefined;
  const decision = error instanceof RuleRefusal ? error.decision : progress.decision;
  const caller = error instanceof CallerRefusal ? error.known : verified;
  rooms.trail.refused({ id: arrival.id, way: 'in', refusal, status, call, caller, decision, target }, admitted);
  answerRefusal(arrival, refusal, answer);
}
