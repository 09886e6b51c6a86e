import type { Bound } from '../bind/proof.ts';
import type { Presented } from '../present/present.ts';
import type { Trail } from './trail.ts';

/** What can be admitted: a call of the way out with its credential and proof, or one of the way in with what the program will see. */
export type Admissible = Bound | Presented;

/** A call whose admission stands in the record (W7). It is good for one send. */
class AdmittedCall {
  #spent = false;
  readonly #sent: Admissible;

  constructor(sent: Admissible) {
    this.#sent = sent;
  }

  /** What is forwarded, once. A second use is a fault: a second send needs its own proof and its own line in the record. */
  spend(): Admissible {
    if (this.#spent) throw new Error('an admitted call was forwarded twice');
    this.#spent = true;
    return this.#sent;
  }
}

export type Admitted = AdmittedCall;

/** Writes `call.admitted`. Resolves when the line is with the operating system; rejects `record_unavailable`, and then nothing leaves. */
export async function admit(sent: Admissible, trail: Trail): Promise<Admitted> {
  await trail.admitted(sent);
  return new AdmittedCall(sent);
}
