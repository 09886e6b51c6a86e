import { runEgress, type EgressRooms } from './egress.ts';
import { hearTurnedAway } from './hear-turned-away.ts';
import { HandleRefusal } from './identify/handle-refusal.ts';
import { findOwnTask } from './identify/own-task.ts';
import { checkTunnelCredential } from './identify/tunnel-credential.ts';
import { answerRefusal, isToldAlready, renderRefusal } from './intercept/answer.ts';
import type { Arrival } from './intercept/call.ts';
import type { Hearers } from './intercept/listener.ts';
import { type InertKeys, readOwnAction, serveOwnDocument } from './intercept/own-documents.ts';
import { refusalFrom, type Refusal } from './refusal.ts';
import { serveAgent, type AgentAction, type AgentDoorRooms } from './steward/agent-door.ts';

/** What the way out serves itself, at `waybill.local` and at its own address. */
export interface OwnServices {
  /** Keys of the inert tokens; undefined without a way in. */
  readonly jwks: InertKeys | undefined;
  readonly door: Omit<AgentDoorRooms, 'ownTask'>;
}

type Rooms = EgressRooms & { readonly nextCallId: () => string };

/**
 * Who takes what the agent's port hears: the sidecar itself for what is asked of it, the way out for all calls.
 * @param current the rooms of the configuration that is in force; a call keeps those that it began with.
 */
export function hearAgent(current: () => Rooms, { jwks, door }: OwnServices): Hearers {
  const { ladder, nextCallId, world, trail } = current();
  return {
    onRequest: (arrival) => {
      if (serveOwnDocument(arrival, jwks)) return;
      const action = readOwnAction(arrival);
      if (action === undefined) void runEgress(arrival, current());
      else void runOwn(action, arrival, { ...door, ownTask: (request) => findOwnTask(request, ladder) }, current());
    },
    checkTunnel: (connect) => checkTunnelCredential(connect, current().ladder),
    onRefused: (id, refusal, target, wasAdmitted) => {
      const status = refusal.code === 'task_unknown' ? 407 : refusal.kind.status;
      trail.refused({ id, way: 'out', refusal, status, target, misused: misusedBy(refusal) }, wasAdmitted);
    },
    onTurnedAway: hearTurnedAway('out', { world, nextCallId }, trail),
    nextCallId,
    monotonic: world.monotonic,
  };
}

/** Serves what is asked of the sidecar itself. Should even the refusal fail, the connection is cut (W1). */
async function runOwn(action: AgentAction, arrival: Arrival, ownRooms: AgentDoorRooms, rooms: Rooms): Promise<void> {
  try {
    await serveAgent(action, arrival.request, arrival.response, ownRooms).catch((error: unknown) =>
      refuse(arrival, error, rooms),
    );
  } catch (error) {
    arrival.request.socket.destroy();
    rooms.onFault(arrival.id, error);
  }
}

/** A wrong handle is told, counted and recorded as in any call. */
function refuse(arrival: Arrival, error: unknown, rooms: Rooms): void {
  const refusal = refusalFrom(error, (fault) => rooms.onFault(arrival.id, fault));
  if (isToldAlready(arrival, refusal)) return;
  const answer = renderRefusal(refusal, arrival.id, false);
  const { status } = answer;
  rooms.trail.refused({ id: arrival.id, way: 'out', refusal, status, misused: misusedBy(refusal) }, false);
  answerRefusal(arrival, refusal, answer);
}

function misusedBy(refusal: Refusal): HandleRefusal | undefined {
  return refusal instanceof HandleRefusal ? refusal : undefined;
}
