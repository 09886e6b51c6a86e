/* oxlint-disable typescript/no-misused-spread -- that a spread loses the class is what is shown here */
/**
 * Compiled, never run: each `@ts-expect-error` is a look-alike of a stage's evidence, made without a cast. The classes have a private
 * field and their files export their types alone, so that a literal, a spread or another class of the same shape is none of them.
 */
import type { Bound } from '../../proxy/bind/proof.ts';
import type { ExitPermit } from '../../proxy/decide/permit.ts';
import type { Credential } from '../../proxy/exchange/credential.ts';
import type { Attributed } from '../../proxy/identify/ladder.ts';
import type { CallBody } from '../../proxy/intercept/body.ts';
import type { Call } from '../../proxy/intercept/call.ts';
import type { Admitted } from '../../proxy/record/admit.ts';
import type { Routed } from '../../proxy/route/route.ts';

/** Everything that can be seen of a type: what a forger would write down. */
type Shape<T> = { [Member in keyof T]: T[Member] };

export function byLiteral(
  call: Call,
  attributed: Attributed,
  permit: ExitPermit,
  body: CallBody,
  bound: Bound,
): unknown[] {
  const { decision } = permit;
  // @ts-expect-error a call whose task somebody wrote down
  const forgedAttributed: Attributed = { call, errand: attributed.errand, by: 'handle' };
  // @ts-expect-error a permit that no rule gave
  const forgedPermit: ExitPermit = { attributed, decision };
  // @ts-expect-error a body that was not read from the request
  const forgedBody: CallBody = { content: undefined, length: 0, isResendable: true };
  // @ts-expect-error an address that nobody checked
  const forgedRouted: Routed = { permit, body, way: { address: '169.254.169.254', port: 80 } };
  // @ts-expect-error a call without its credential
  const forgedCredential: Credential = { routed: forgedRouted, held: undefined };
  // @ts-expect-error a proof that was not made for this send
  const forgedBound: Bound = { credential: forgedCredential, attempt: 1, proof: undefined, revealInjected: () => [] };
  // @ts-expect-error an admission that stands in no record
  const forgedAdmitted: Admitted = { spend: () => bound };
  return [forgedAttributed, forgedPermit, forgedBody, forgedRouted, forgedCredential, forgedBound, forgedAdmitted];
}

export function bySpread(
  call: Call,
  attributed: Attributed,
  permit: ExitPermit,
  routed: Routed,
  credential: Credential,
  bound: Bound,
  admitted: Admitted,
): unknown[] {
  // @ts-expect-error the same call with another target
  const otherCall: Call = { ...call, target: { ...call.target, host: 'evil.example.org' } };
  // @ts-expect-error the same call in another task
  const otherTask: Attributed = { ...attributed, by: 'standing' };
  // @ts-expect-error the same decision about another call
  const otherPermit: ExitPermit = { ...permit, attributed: otherTask };
  // @ts-expect-error the same call at another address
  const otherWay: Routed = { ...routed, way: { address: '10.0.0.1', port: 80 } };
  // @ts-expect-error the same credential on another way
  const otherCredential: Credential = { ...credential, routed: otherWay };
  // @ts-expect-error the same send once more
  const otherBound: Bound = { ...bound, attempt: 2 };
  // @ts-expect-error the same admission, not yet spent
  const otherAdmitted: Admitted = { ...admitted, spend: () => bound };
  return [otherCall, otherTask, otherPermit, otherWay, otherCredential, otherBound, otherAdmitted];
}

export function byShape(shapes: {
  readonly call: Shape<Call>;
  readonly attributed: Shape<Attributed>;
  readonly permit: Shape<ExitPermit>;
  readonly body: Shape<CallBody>;
  readonly routed: Shape<Routed>;
  readonly credential: Shape<Credential>;
  readonly bound: Shape<Bound>;
  readonly admitted: Shape<Admitted>;
}): unknown[] {
  // @ts-expect-error an object of the same shape is no call
  const call: Call = shapes.call;
  // @ts-expect-error nor a call with a task
  const attributed: Attributed = shapes.attributed;
  // @ts-expect-error nor a permit
  const permit: ExitPermit = shapes.permit;
  // @ts-expect-error nor a body
  const body: CallBody = shapes.body;
  // @ts-expect-error nor a call with a way
  const routed: Routed = shapes.routed;
  // @ts-expect-error nor one with a credential
  const credential: Credential = shapes.credential;
  // @ts-expect-error nor a bound one
  const bound: Bound = shapes.bound;
  // @ts-expect-error nor an admitted one
  const admitted: Admitted = shapes.admitted;
  return [call, attributed, permit, body, routed, credential, bound, admitted];
}

/** A class that looks the same from outside, down to the name of its private field. */
class AdmittedCall {
  #spent = false;
  readonly #bound: Bound;

  constructor(bound: Bound) {
    this.#bound = bound;
  }

  spend(): Bound {
    this.#spent = !this.#spent;
    return this.#bound;
  }
}

export function byClass(bound: Bound, permit: ExitPermit, routed: Routed): unknown[] {
  // @ts-expect-error private fields of two classes are two fields, whatever their names
  const admitted: Admitted = new AdmittedCall(bound);
  // @ts-expect-error evidence of one stage is not that of another, though both have private fields
  const other: Routed = permit;
  // @ts-expect-error in neither direction
  const another: ExitPermit = routed;
  return [admitted, other, another];
}

export function byConstructor(bound: Bound, admitted: Admitted): unknown {
  // @ts-expect-error the constructor of a piece of evidence cannot be reached from it
  return new admitted.constructor(bound);
}

export async function byTypeImport(): Promise<unknown[]> {
  const { admit, ...rest } = await import('../../proxy/record/admit.ts');
  // @ts-expect-error the file exports the type, and the class only makes it inside
  const { AdmittedCall: forged } = rest;
  return [admit, forged];
}
