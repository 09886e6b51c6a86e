import { eventFields } from './event.ts';

/** All of `SignalOutcome`. */
export const signalOutcomes = ['revoked', 'repeated', 'ignored', 'verified', 'refused', 'failed'] as const;

/**
 * What came of a security event: its subject was revoked, it had come before, it says nothing that we act on or of nobody that we know,
 * it was a test of the stream, it was not good, or it could not be followed and has to be sent again.
 */
export type SignalOutcome = (typeof signalOutcomes)[number];

/** A security event that came in. Names no subject: that stands in `principal.revoked`, once it is believed. */
export interface ReceivedSignal {
  /** Issuer of its transmitter, where that is one of ours. */
  readonly issuer?: string | undefined;
  /** Short name of a type that we know, else `other`. */
  readonly type?: string | undefined;
  /** First 16 hex digits of the SHA-256 of its `jti`. */
  readonly jti?: string | undefined;
  readonly outcome: SignalOutcome;
  /** Why it was ignored, refused or failed; of a closed set. */
  readonly cause?: string | undefined;
  /** What it ended. */
  readonly tasks?: number | undefined;
  readonly credentials?: number | undefined;
}

/** The members of `signal.received`. */
export function signalFields({ issuer, type, jti, outcome, cause, tasks, credentials }: ReceivedSignal): string {
  return eventFields('signal.received', { issuer, type, jti, outcome, cause, tasks, credentials });
}
