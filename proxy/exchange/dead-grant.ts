import { Refusal, type ServiceError } from '../refusal.ts';
import type { TokenOrder } from './token-order.ts';

/** The code of RFC 6749 5.2 that says nothing but this: the grant is not good, and will not be again. */
const plainCode = 'invalid_grant';

/**
 * A service refuses the subject token itself. That may be a fault of the request too: RFC 8693 2.2.2 has one code for both, and there
 * are services that call it a dead grant when their policy says no.
 */
export class DeadGrant extends Refusal {
  #isConfirmed = false;

  /** @param errorCode `error` of the answer. */
  constructor(detail: string | undefined, errorCode: ServiceError) {
    super('grant_dead', detail, undefined, undefined, errorCode);
  }

  /** Whether it is known that the subject token is over. Then so is its task: none of its exchanges can succeed any more. */
  get isConfirmed(): boolean {
    return this.#isConfirmed;
  }

  /**
   * Notes what the issuer of the subject token says of it (RFC 7662); undefined where it does not say. Then a plain code counts: who
   * waits for better proof keeps a task, with its handles, for a user who is gone.
   */
  confirm(isActive: boolean | undefined): void {
    this.#isConfirmed = isActive === undefined ? this.serviceError === plainCode : !isActive;
  }
}

/** Not `handle_ended`: nobody used an old handle, the end just came first. */
export function taskEnded(): Refusal {
  return new Refusal('grant_dead', 'The task ended before its credential was obtained.');
}

/** What a service says of a statement, or of our own assertion, says nothing of the user's grant: that task goes on. */
export function isOfStatement(error: unknown, { grantedBy, assertion }: TokenOrder): error is Refusal {
  return (
    error instanceof Refusal && error.code === 'grant_dead' && (grantedBy !== undefined || assertion === 'workload')
  );
}
