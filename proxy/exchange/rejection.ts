import type { RejectCause } from './exchange-trail.ts';

/** What a service returned is not what was asked for (W5). Names the check that failed, and nothing of the answer but the token's id. */
export class Rejection extends Error {
  readonly rejected: RejectCause;
  /** First 16 hex digits of the SHA-256 of the token, where there was one. */
  readonly tokenId: string | undefined;

  constructor(rejected: RejectCause, tokenId?: string) {
    super(`answer rejected: ${rejected}`);
    this.rejected = rejected;
    this.tokenId = tokenId;
  }
}
