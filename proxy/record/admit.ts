import type { Bound } from '../bind/proof.ts';
import type { Trail } from './trail.ts';

/** A call whose admission stands in the record (W7). It is good for one send. */
class AdmittedCall {
  #spent = false;
  readonly #bound: Bound;

  constructor(bound: Bound) {
    this.#bound = bound;
  }

  /** What is forwarded, once. A second use is a fault: a second send needs its own proof and its own line in the record. */
  spend(): Bound {
    if (this.#spent) throw new Error('an admitted call was forwarded twice');
    this.#spent = true;
    return this.#bound;
  }
}

export type Admitted = AdmittedCall;

/** Writes `call.admitted`. Resolves when the line is with the operating system; rejects `record_unavailable`, and then nothing leaves. */
export async function admit(bound: Bound, trail: Trail): Promise<Admitted> {
  await trail.admitted(bound);
  return new AdmittedCall(bound);
}
