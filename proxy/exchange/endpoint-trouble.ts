import { errors } from 'undici';
import { codeOf } from '../process-log.ts';
import type { EndpointFault } from './endpoint.ts';

/** What is told of an endpoint that gave no answer, or that of a service that is not well. Nothing of a request or an answer. */
export interface EndpointTrouble {
  /** Scheme, host and port; never a path, which may hold a tenant's name. */
  readonly origin: string;
  /** `status` is an answer of 5xx, 408 or 429. */
  readonly reason: EndpointFault['reason'] | 'status';
  /** The code of the system, of TLS or of a refusal of ours (`ECONNREFUSED`, `CERT_HAS_EXPIRED`, `address_forbidden`), or the status. */
  readonly code: string | undefined;
}

/** Port: hears of it. */
export type TellTrouble = (trouble: EndpointTrouble) => void;

/** Whether an answer says that the service is not well, or has too much to do. */
export function isUnwell(status: number): boolean {
  return status >= 500 || status === 408 || status === 429;
}

/** The code of an error; what the library calls a broken connection says less than what the system called it. */
export function troubleCode(error: unknown): string | undefined {
  return codeOf(error instanceof errors.SocketError && error.cause instanceof Error ? error.cause : error);
}
