/**
 * Why the Workload API gave nothing. `denied`: the workload has no identity (now). `unavailable`: the agent is not there or failed.
 * `timeout`: no answer in the time given. `rejected`: our own request was wrong. `unsupported`: the agent lacks this method.
 * `malformed`: the answer breaks the standard and was ignored. `audience`: what is there is for other audiences. `closed`: this client
 * was closed.
 */
export type UnavailableReason =
  | 'denied'
  | 'unavailable'
  | 'timeout'
  | 'rejected'
  | 'unsupported'
  | 'malformed'
  | 'audience'
  | 'closed';

const sentences: Readonly<Record<UnavailableReason, string>> = {
  denied: 'the Workload API grants this workload no identity',
  unavailable: 'the Workload API does not answer',
  timeout: 'the Workload API did not answer in time',
  rejected: 'the Workload API rejected the request as invalid',
  unsupported: 'the Workload API does not know this method',
  malformed: 'the answer of the Workload API is malformed',
  audience: 'no JWT-SVID is for this audience',
  closed: 'the client of the Workload API is closed',
};

/** There is no SVID to be had at the moment. The message holds no text of the agent, so it may be shown to anybody. */
export class IdentityUnavailable extends Error {
  override readonly name = 'IdentityUnavailable';
  readonly reason: UnavailableReason;

  constructor(reason: UnavailableReason) {
    super(sentences[reason]);
    this.reason = reason;
  }
}

/** An answer breaks the standard: it is reported and ignored as a whole. The message is ours and names no value of the answer. */
export class MalformedAnswer extends Error {
  override readonly name = 'MalformedAnswer';
  /** What it means for us; `denied` where the answer is sound and grants nothing that we may use. */
  readonly reason: 'malformed' | 'denied';

  constructor(message: string, reason: 'malformed' | 'denied' = 'malformed') {
    super(message);
    this.reason = reason;
  }
}

/** An answer is sound and has ended, by a clock that may be ahead. */
export class EndedAnswer extends MalformedAnswer {}
