/**
 * Compiled, never run: each `@ts-expect-error` is a way to leave out or swap a stage of the way out (DESIGN 2). Should one of them
 * compile one day, the compiler names the line.
 */
import { bind, type Send } from '../../proxy/bind/proof.ts';
import type { ExitPermit } from '../../proxy/decide/permit.ts';
import type { EgressRooms } from '../../proxy/egress.ts';
import type { Credential } from '../../proxy/exchange/credential.ts';
import { forward } from '../../proxy/forward/forward.ts';
import type { Lease } from '../../proxy/forward/upstream.ts';
import { identify, type Attributed } from '../../proxy/identify/ladder.ts';
import { unwatched } from '../../proxy/intercept/body-watch.ts';
import { readBody, type CallBody } from '../../proxy/intercept/body.ts';
import { intercept, type Arrival, type Call } from '../../proxy/intercept/call.ts';
import { admit, type Admitted } from '../../proxy/record/admit.ts';
import type { Bound } from '../../proxy/bind/proof.ts';
import { route, type Routed } from '../../proxy/route/route.ts';

/** Evidence of every stage, as if each had been passed. */
interface Evidence {
  readonly arrival: Arrival;
  readonly call: Call;
  readonly attributed: Attributed;
  readonly permit: ExitPermit;
  readonly body: CallBody;
  readonly routed: Routed;
  readonly credential: Credential;
  readonly bound: Bound;
  readonly admitted: Admitted;
  readonly lease: Lease;
}

const send: Send = { attempt: 1, chain: undefined, nonce: undefined };

/** The order as it is: this compiles. */
export async function inOrder(arrival: Arrival, rooms: EgressRooms): Promise<unknown> {
  const call = intercept(arrival, rooms.reader);
  const attributed = identify(call, rooms.ladder);
  const permit = rooms.desk.decide(attributed, rooms.world.now());
  const routed = await route(permit, await readBody(call, false, unwatched), rooms.guard);
  const bound = bind(await rooms.purse.exchange(routed), send, rooms.world);
  const lease = rooms.upstreams.take(call.tool, call.target.origin, routed.way);
  return forward(await admit(bound, rooms.trail), lease, rooms.road);
}

export function withoutIntercept({ arrival }: Evidence, rooms: EgressRooms): void {
  // @ts-expect-error a request that was not read into its one normal form has no task
  identify(arrival, rooms.ladder);
  // @ts-expect-error nor has node's own request
  identify(arrival.request, rooms.ladder);
  // @ts-expect-error the body of a request that was not read is not taken
  void readBody(arrival.request);
}

export function withoutIdentify({ arrival, call }: Evidence, { desk }: EgressRooms): void {
  // @ts-expect-error rules decide about a call whose task is known
  desk.decide(call, 0);
  // @ts-expect-error and not about a raw request
  desk.decide(arrival, 0);
}

export function withoutDecide({ attributed, call, body }: Evidence, { guard, purse }: EgressRooms): void {
  // @ts-expect-error a call that nobody permitted has no way
  void route(attributed, body, guard);
  // @ts-expect-error nor has one of which not even the task is known
  void route(call, body, guard);
  // @ts-expect-error and gets no token
  void purse.exchange(attributed);
}

export function withoutBody({ permit, call }: Evidence, { guard }: EgressRooms): void {
  // @ts-expect-error the body, or that there is none, is known before the way is looked for
  void route(permit, undefined, guard);
  // @ts-expect-error what was not read could be other bytes than those that are sent (W13)
  void route(permit, call.request, guard);
  // @ts-expect-error nor can it be left out
  void route(permit, guard);
}

export function withoutRoute({ permit, attributed, call }: Evidence, { purse }: EgressRooms): void {
  // @ts-expect-error no token is asked for before the address is found and checked (W2)
  void purse.exchange(permit);
  // @ts-expect-error nor for a call that was not permitted
  void purse.exchange(attributed);
  // @ts-expect-error nor for one whose task is unknown
  void purse.exchange(call);
}

export function withoutExchange({ routed, permit }: Evidence, { world, purse }: EgressRooms): void {
  // @ts-expect-error a call is bound together with its credential, or with the statement that it has none
  bind(routed, send, world);
  // @ts-expect-error a permit is no credential
  bind(permit, send, world);
  // @ts-expect-error an exchange that is under way is none either
  bind(purse.exchange(routed), send, world);
}

export function withoutBind({ credential, routed }: Evidence, { trail }: EgressRooms): void {
  // @ts-expect-error what is admitted is one send with its own proof, and not a credential
  void admit(credential, trail);
  // @ts-expect-error nor a call that has none
  void admit(routed, trail);
}

export function withoutAdmit({ bound, credential, call, lease }: Evidence, { road, trail }: EgressRooms): void {
  // @ts-expect-error nothing leaves that does not stand in the record (W7)
  void forward(bound, lease, road);
  // @ts-expect-error a line that is still being written is not yet in the record
  void forward(admit(bound, trail), lease, road);
  // @ts-expect-error a credential does not leave by itself
  void forward(credential, lease, road);
  // @ts-expect-error nor does a call
  void forward(call, lease, road);
}

export function swapped({ admitted, bound, routed, permit }: Evidence, rooms: EgressRooms): void {
  // @ts-expect-error a call is admitted after it was bound: the record names the proof
  bind(admitted, send, rooms.world);
  // @ts-expect-error an admitted call is not admitted again
  void admit(admitted, rooms.trail);
  // @ts-expect-error the way is not looked for with the token in hand
  void route(bound, routed.body, rooms.guard);
  // @ts-expect-error a call is not decided after its way was found
  rooms.desk.decide(routed, 0);
  // @ts-expect-error a permit has its task already
  identify(permit, rooms.ladder);
  // @ts-expect-error a retry goes back to the credential and not to the call that was bound before
  void rooms.purse.renew(bound);
}
