import { bind } from './bind/proof.ts';
import type { ToolNonces } from './bind/nonces.ts';
import type { TaskLinks } from './bind/task-links.ts';
import { RuleRefusal, type Desk, type ExitPermit } from './decide/permit.ts';
import type { Credential, Purse } from './exchange/credential.ts';
import { handingMs } from './exchange/issued-token.ts';
import type { ServiceChoice } from './exchange/service-choice.ts';
import { forward, type Forwarded, type Road } from './forward/forward.ts';
import { probeNonce } from './forward/probe.ts';
import type { Lease, Upstreams } from './forward/upstream.ts';
import { HandleRefusal } from './identify/handle-refusal.ts';
import { identify, type Attributed, type Ladder } from './identify/ladder.ts';
import { watchBody } from './identify/leak.ts';
import { answerRefusal, isToldAlready, noteJudged, renderRefusal } from './intercept/answer.ts';
import { declaresBody, noBody, readBody } from './intercept/body.ts';
import { intercept, seenTarget, type Arrival, type Call, type Reader } from './intercept/call.ts';
import { admit } from './record/admit.ts';
import type { CallEnd } from './record/call-events.ts';
import type { Trail } from './record/trail.ts';
import { Refusal, refusalFrom, toldAsUnsure } from './refusal.ts';
import { route } from './route/route.ts';
import type { EgressGuard } from './route/egress-guard.ts';
import type { World } from './world.ts';

/** The rooms of the way out, opened once by the sidecar. */
export interface EgressRooms {
  readonly world: World;
  readonly reader: Reader;
  readonly ladder: Ladder;
  readonly desk: Desk;
  readonly guard: EgressGuard;
  readonly services: ServiceChoice;
  readonly purse: Purse;
  readonly links: TaskLinks;
  readonly upstreams: Upstreams;
  readonly nonces: ToolNonces;
  readonly trail: Trail;
  readonly road: Road;
  /** Hears of faults, which are neither refusals nor expected: counts and logs them. */
  onFault(callId: string, error: unknown): void;
}

/** How far a call got: only for the record of its refusal and the count of its end. */
interface Progress {
  call?: Call;
  attributed?: Attributed;
  permit?: ExitPermit;
  lease?: Lease;
  admitted: boolean;
  /** How its last send ended, and how long all of them took. */
  sent?: { readonly end: CallEnd; readonly ms: number };
  /** Whether the tool may have done it, and would do it twice. */
  mayBeDone?: boolean;
}

/**
 * The way out of one request, top to bottom. Each stage takes the evidence of the one before, so none can be left out or swapped.
 * Whatever is thrown on the way ends in a refusal: nothing is let through by a failure (W1).
 */
async function egress(arrival: Arrival, rooms: EgressRooms): Promise<void> {
  const progress: Progress = { admitted: false };
  try {
    const call = (progress.call = intercept(arrival, rooms.reader));
    const attributed = (progress.attributed = identify(call, rooms.ladder));
    const permit = (progress.permit = rooms.desk.decide(attributed, rooms.world.now()));
    const body = declaresBody(call) ? await readBody(call, false, watchBody(call, rooms.ladder.secrets)) : noBody;
    const found = route(permit, body, rooms.guard);
    const routed = found instanceof Promise ? await found : found;
    const settled = rooms.services.settle(routed);
    if (settled instanceof Promise) await settled;
    const taken = rooms.purse.exchange(routed);
    let credential = taken instanceof Promise ? await taken : taken;
    const { origin } = call.target;
    const lease = (progress.lease = rooms.upstreams.take(call.tool, origin, routed.way, credential.certificate));
    if (needsProbe(credential, lease)) credential = await probe(credential, lease, rooms);
    for (let attempt = 1; ; attempt += 1) {
      const nonce = lease.nonce ?? rooms.nonces.newest(origin.text);
      const chain = rooms.links.linkFor(credential);
      const bound = bind(credential, { attempt, chain, nonce }, rooms.world);
      const admitted = await admit(bound, rooms.trail);
      progress.admitted = true;
      noteJudged(arrival, true);
      const sentAt = rooms.world.monotonic();
      const forwarded = await forward(admitted, lease, rooms.road);
      progress.mayBeDone = forwarded.kind === 'refused' && forwarded.mayBeDone;
      const endedAt = rooms.world.monotonic();
      rooms.trail.ended(bound, forwarded.end, endedAt - arrival.startedAt);
      progress.sent = { end: forwarded.end, ms: (progress.sent?.ms ?? 0) + endedAt - sentAt };
      if (forwarded.kind === 'ended') return;
      // The one retry: back to `bind` for a nonce, back to `exchange` for a token that the tool called expired.
      credential = await answerChallenge(forwarded, credential, attempt, rooms.purse);
    }
  } catch (error) {
    refuse(arrival, error, progress, rooms);
  } finally {
    progress.lease?.giveBack();
    const { call, sent } = progress;
    if (call !== undefined && sent !== undefined)
      rooms.trail.over(call, sent.end, rooms.world.monotonic() - arrival.startedAt, sent.ms);
  }
}

/** Runs the way out of a request to its end. Should even the refusal fail, the connection is cut: nothing is left open (W1). */
export async function runEgress(arrival: Arrival, rooms: EgressRooms): Promise<void> {
  try {
    await egress(arrival, rooms);
  } catch (error) {
    arrival.request.socket.destroy();
    rooms.onFault(arrival.id, error);
  }
}

/** A nonce of a Waybill is good for a minute at least; an older one could be over when the tool reads it, and the body is gone then. */
const nonceFreshMs = 50_000;

/** Whether the call would meet a challenge that it could not answer: its body can be sent once, and the tool demands nonces. */
function needsProbe({ routed }: Credential, lease: Lease): boolean {
  const { settings } = routed.permit.attributed.call.tool;
  return settings.token?.nonce === 'required' && !routed.body.isResendable && !lease.hasNonceOf(nonceFreshMs);
}

/** Returns the credential to go on with: a tool may take longer over its nonce than the token lives. */
async function probe(credential: Credential, lease: Lease, rooms: EgressRooms): Promise<Credential> {
  const { routed } = credential;
  const { call } = routed.permit.attributed;
  const { status, nonce } = await probeNonce(call, lease, rooms.road.pseudonym);
  rooms.trail.probed(call, status);
  if (nonce !== undefined) lease.keepNonce(nonce);
  return credential.isUsable(rooms.world.now() + handingMs) ? credential : rooms.purse.exchange(routed);
}

async function answerChallenge(
  forwarded: Exclude<Forwarded, { kind: 'ended' }>,
  credential: Credential,
  attempt: number,
  purse: Purse,
): Promise<Credential> {
  if (forwarded.kind === 'refused') throw forwarded.refusal;
  if (attempt > 1 || !credential.routed.body.isResendable) throw new Refusal('credential_refused');
  if (forwarded.by === 'nonce') return credential;
  const renewed = await purse.renew(credential);
  if (renewed === undefined) throw new Refusal('credential_refused');
  return renewed;
}

function refuse(arrival: Arrival, error: unknown, progress: Progress, rooms: EgressRooms): void {
  const reason = refusalFrom(error, (fault) => rooms.onFault(arrival.id, fault));
  const refusal = progress.mayBeDone === true ? toldAsUnsure(reason) : reason;
  if (isToldAlready(arrival, refusal)) return;
  const throughProxy = arrival.door.kind === 'proxy' && progress.call?.door !== 'mount';
  const answer = renderRefusal(refusal, arrival.id, throughProxy);
  const { call, attributed, permit } = progress;
  const target = call === undefined ? seenTarget(arrival) : undefined;
  if (!progress.admitted) attributed?.giveBackUses();
  const misused = error instanceof HandleRefusal ? error : undefined;
  const decision = error instanceof RuleRefusal ? error.decision : permit?.decision;
  rooms.trail.refused(
    { id: arrival.id, way: 'out', refusal, status: answer.status, call, attributed, misused, decision, target },
    progress.admitted,
  );
  answerRefusal(arrival, refusal, answer);
}
