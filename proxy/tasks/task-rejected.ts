/** Why a task could not be opened or ended; for the operator's API. */
export class TaskRejected extends Error {
  readonly reason: 'too_many' | 'parent_not_open' | 'not_found' | 'not_open' | 'deadline' | 'revoked' | 'not_current';

  constructor(reason: TaskRejected['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}
