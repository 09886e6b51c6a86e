import { refusalKinds, type RefusalCode } from './refusal-kinds.ts';

/**
 * One kind of the closed catalogue of expected "no" answers. A code names the HTTP status, the stage that says it, a public title and a hint
 * written for the agent that reads it. Causes (addresses, texts of services, rule texts of others) never stand in a public sentence;
 * of a service's error nothing does but a `ServiceError`.
 */
export interface RefusalKind {
  readonly status: number;
  readonly stage: Stage;
  readonly title: string;
  readonly hint: string;
  readonly retryable: boolean;
  /** Set where the refusal is the replay of something we issued (DESIGN 7): its grade decides whether a person is woken. */
  readonly replay?: 'proven' | 'suspected';
}

/** Error codes of a token endpoint that standards define (RFC 6749 5.2, RFC 8693 2.2.2, RFC 8707 2, RFC 9449 5 and 8): a closed set, safe to tell. */
export type ServiceError =
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'invalid_scope'
  | 'invalid_target'
  | 'invalid_dpop_proof'
  | 'use_dpop_nonce';

export type Stage =
  | 'intercept'
  | 'identify'
  | 'verify'
  | 'claim'
  | 'decide'
  | 'route'
  | 'exchange'
  | 'bind'
  | 'admit'
  | 'forward';

/** Way out: from the agent to a tool. Way in: from a caller to the program behind us. */
export type Way = 'out' | 'in';

function isCode(text: string): text is RefusalCode {
  return Object.hasOwn(refusalKinds, text);
}

/** All codes, in the order of the catalogue. */
export const refusalCodes: readonly RefusalCode[] = Object.keys(refusalKinds).filter(isCode);

export function kindOf(code: RefusalCode): RefusalKind {
  return refusalKinds[code];
}

/** Retry-After, seconds, of refusals that pass by themselves. */
export const retryAfterSeconds = 1;

/** A stack costs 8 us and tells nothing of an expected "no" (MODELS), so refusals carry none. */
export class Refusal extends Error {
  readonly code: RefusalCode;
  /** One public sentence that may name the caller's own input or the config, never a cause from elsewhere. */
  readonly detail: string;
  /** Seconds for Retry-After where a service told more than our default. */
  readonly retryAfter: number | undefined;
  /** What the agent should do: that of the kind, unless more is known of this call. As public as the detail. */
  readonly hint: string;
  /** What the token service called its error, where it is the service that refused. */
  readonly serviceError: ServiceError | undefined;

  constructor(
    code: RefusalCode,
    detail: string = refusalKinds[code].title,
    retryAfter?: number,
    hint: string = refusalKinds[code].hint,
    serviceError?: ServiceError,
  ) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(code);
    Error.stackTraceLimit = limit;
    this.code = code;
    this.detail = detail;
    this.retryAfter = retryAfter;
    this.hint = hint;
    this.serviceError = serviceError;
  }

  get kind(): RefusalKind {
    return kindOf(this.code);
  }

  /** Whether the same request may simply be sent again. */
  get retryable(): boolean {
    return this.kind.retryable;
  }
}

/**
 * We cannot prove who we are. Which file of ours it is and why is for the record and the log: the agent's sentence names no path of this
 * machine.
 */
export class UnprovenRefusal extends Refusal {
  /** The system's code, the name of an error of ours, or one word: never a text of the file. */
  readonly why: string;
  // Private, so that it is printed only where it is asked for.
  readonly #file: string | undefined;

  constructor(detail: string | undefined, why: string, file?: string) {
    super('identity_unavailable', detail);
    this.why = why;
    this.#file = file;
  }

  get file(): string | undefined {
    return this.#file;
  }
}

/** Why a file was not read, without the words beside it: they name the path. */
export function whyUnread(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}

const unsure =
  'It may have been done already. Look whether it was before you send it again; if you cannot tell, ask a person.';

/** The refusal of a call that may have been done all the same. */
class UnsureRefusal extends Refusal {
  override get retryable(): boolean {
    return false;
  }
}

/**
 * The same refusal, said of a call that may have been done: told to try again, an agent would pay twice. What the stage that sends
 * advises is for calls that were not sent; what others advise holds as well.
 */
export function toldAsUnsure({ code, kind, detail, hint }: Refusal): Refusal {
  return new UnsureRefusal(code, detail, undefined, kind.stage === 'forward' ? unsure : `${hint} ${unsure}`);
}

/** What a thrown thing is told as: a refusal as itself. Anything else is a fault: it is heard of, and told without its cause. */
export function refusalFrom(error: unknown, onFault: (fault: unknown) => void): Refusal {
  if (error instanceof Refusal) return error;
  onFault(error);
  return new Refusal('internal_fault');
}
