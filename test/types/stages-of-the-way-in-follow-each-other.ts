/**
 * Compiled, never run: each `@ts-expect-error` is a way to leave out or swap a stage of the way in (DESIGN 2). Should one of them
 * compile one day, the compiler names the line.
 */
import type { Bound } from '../../proxy/bind/proof.ts';
import type { EntryPermit } from '../../proxy/decide/entry-permit.ts';
import type { ExitPermit } from '../../proxy/decide/permit.ts';
import { forward } from '../../proxy/forward/forward.ts';
import type { Lease } from '../../proxy/forward/upstream.ts';
import type { IngressRooms } from '../../proxy/ingress.ts';
import { unwatched } from '../../proxy/intercept/body-watch.ts';
import { noBody, readBody } from '../../proxy/intercept/body.ts';
import { interceptInbound, type Arrival, type Call } from '../../proxy/intercept/call.ts';
import { open, type Opened } from '../../proxy/present/open.ts';
import { present, type Presented } from '../../proxy/present/present.ts';
import { admit, type Admitted } from '../../proxy/record/admit.ts';
import { claim, type Claimed } from '../../proxy/verify/claim.ts';
import { verify, type Verified } from '../../proxy/verify/verify.ts';

/** Evidence of every stage, as if each had been passed. */
interface Evidence {
  readonly arrival: Arrival;
  readonly call: Call;
  readonly verified: Verified;
  readonly claimed: Claimed;
  readonly permit: EntryPermit;
  readonly exit: ExitPermit;
  readonly opened: Opened;
  readonly presented: Presented;
  readonly bound: Bound;
  readonly admitted: Admitted;
  readonly lease: Lease;
}

/** The order as it is: this compiles. */
export async function inOrder(arrival: Arrival, lease: Lease, rooms: IngressRooms): Promise<unknown> {
  const call = interceptInbound(arrival, rooms.reader);
  const verified = await verify(call, rooms.gate);
  const body = await readBody(call, false, unwatched);
  const permit = rooms.desk.decide(claim(verified, rooms.spending), rooms.world.now());
  const presented = present(open(permit, 'handle', rooms.door()), body, rooms.presenter);
  return forward(await admit(presented, rooms.trail), lease, rooms.road);
}

export function withoutVerify({ arrival, call }: Evidence, { gate, spending }: IngressRooms): void {
  // @ts-expect-error a request that was not read into its one normal form is not verified
  void verify(arrival, gate);
  // @ts-expect-error only a verified caller reaches the ledger (W6)
  claim(call, spending);
}

export function withoutClaim({ verified, call }: Evidence, { desk, gate, spending }: IngressRooms): void {
  // @ts-expect-error a request whose proof is not spent is not let in
  desk.decide(verified, 0);
  // @ts-expect-error a verification that is under way is none
  claim(verify(call, gate), spending);
}

export function withoutDecide({ claimed, verified, exit }: Evidence, { door }: IngressRooms): void {
  // @ts-expect-error no task is opened for a request that no rule let in
  open(claimed, 'handle', door());
  // @ts-expect-error nor for one that was merely verified
  open(verified, 'handle', door());
  // @ts-expect-error and a permit of the way out is none of the way in
  open(exit, 'handle', door());
}

export function withoutOpen({ permit, verified }: Evidence, { presenter }: IngressRooms): void {
  // @ts-expect-error what the program sees belongs to a task
  present(permit, noBody, presenter);
  // @ts-expect-error a verified request is not yet one that may be shown
  present(verified, noBody, presenter);
}

export function withoutPresent({ opened, call }: Evidence, { trail }: IngressRooms): void {
  // @ts-expect-error a request goes on with what stands for its caller, not with the caller's credential
  void admit(opened, trail);
  // @ts-expect-error nor as it came
  void admit(call, trail);
}

export function withoutAdmit({ presented, bound, lease }: Evidence, { road }: IngressRooms): void {
  // @ts-expect-error nothing reaches the program that does not stand in the record (W7)
  void forward(presented, lease, road);
  // @ts-expect-error nor does a call of the way out
  void forward(bound, lease, road);
}
