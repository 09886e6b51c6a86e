/**
 * The closed catalogue of expected "no" answers. A code names the HTTP status, the stage that says it, a public title and a hint
 * written for the agent that reads it. Causes (addresses, service errors, rule texts of others) never stand in a public sentence.
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

export type Stage = 'intercept' | 'identify' | 'decide' | 'route' | 'exchange' | 'bind' | 'admit' | 'forward';

const kind = (status: number, stage: Stage, title: string, hint: string, retryable = false): RefusalKind => ({
  status,
  stage,
  title,
  hint,
  retryable,
});
const replay = (grade: 'proven' | 'suspected', title: string, hint: string): RefusalKind => ({
  ...kind(403, 'identify', title, hint),
  replay: grade,
});

export const refusalKinds = {
  message_malformed: kind(
    400,
    'intercept',
    'The request is not well-formed HTTP/1.1',
    'Send one valid request; do not vary its framing.',
  ),
  authority_mismatch: kind(
    400,
    'intercept',
    'CONNECT target, TLS server name, Host and absolute URI do not name the same host',
    'Use one host name in all places of the request.',
  ),
  path_ambiguous: kind(
    400,
    'intercept',
    'The path can be read in more than one way',
    'Send a path without dot segments, doubled slashes, ";", backslashes and encoded separators.',
  ),
  header_forbidden: kind(
    400,
    'intercept',
    'A header that must not be sent here was sent',
    'Remove the header that the detail names.',
  ),
  body_too_large: kind(413, 'intercept', 'The request is larger than this way allows', 'Send a smaller request.'),
  proxy_loop: kind(
    508,
    'intercept',
    'The request already passed this sidecar',
    'Do not send calls to the sidecar itself.',
  ),
  task_unknown: kind(
    401,
    'identify',
    'The call does not say for which task it is made',
    'Send the task handle: as the password of the proxy URL (http://task:HANDLE@proxy), as Authorization: Bearer, or as x-api-key.',
  ),
  handle_previous_process: kind(
    403,
    'identify',
    'The handle was issued before the sidecar was restarted',
    'Ask for the task to be opened again and use its new handle.',
  ),
  handle_ended: replay(
    'suspected',
    'The task of this handle has ended',
    'Stop: the task is over. A new task gets a new handle.',
  ),
  handle_unknown: replay(
    'suspected',
    'The handle is not one of this sidecar',
    'Use the handle exactly as it was given for this task.',
  ),
  handle_foreign_tool: replay(
    'proven',
    'The handle was issued for another tool',
    'Use each handle only at the tool it was issued for.',
  ),
  credential_leak: replay(
    'proven',
    'The call carries a handle where it does not belong',
    'Send the handle as a credential only, never in a path, a query, a cookie or another header.',
  ),
  task_conflict: kind(403, 'identify', 'Two handles of different tasks are in one call', 'Send one handle only.'),
  destination_unlisted: kind(
    403,
    'decide',
    'No tool of the configuration is at this destination',
    'Do not try other ways. Ask the owner of this sidecar to list the tool.',
  ),
  tool_not_in_task: kind(
    403,
    'decide',
    'The task may not use this tool',
    'Do not try other ways. Ask for a task that includes the tool.',
  ),
  subject_required: kind(
    403,
    'decide',
    'The tool is used on behalf of a user only',
    'Make the call within a task that was opened for a user.',
  ),
  denied_by_rule: kind(
    403,
    'decide',
    'A rule denies the call',
    'Do not try other ways. Ask the owner of this sidecar.',
  ),
  approval_required: kind(403, 'decide', 'The call needs an approval', 'Do not try other ways. Ask for an approval.'),
  address_forbidden: kind(
    403,
    'route',
    'The destination resolves to an address that the tool may not have',
    'Do not try other ways. Ask the owner of this sidecar to check the tool.',
  ),
  grant_dead: kind(
    403,
    'exchange',
    'The grant behind this task is no longer valid',
    'Stop: the user has to sign in again and the task has to be opened anew.',
  ),
  exchange_refused: kind(
    403,
    'exchange',
    'The token service does not grant this token',
    'Do not try again. Ask the owner of this sidecar.',
  ),
  token_rejected: kind(
    502,
    'exchange',
    'The token service returned a token that is not what was asked for',
    'Do not try again. The operator of this sidecar has been alerted.',
  ),
  token_service_unavailable: kind(
    503,
    'exchange',
    'The token service does not answer',
    'Try again after the time in Retry-After.',
    true,
  ),
  identity_unavailable: kind(
    503,
    'exchange',
    'The workload has no identity at the moment',
    'Try again after the time in Retry-After.',
    true,
  ),
  record_unavailable: kind(
    503,
    'admit',
    'The call cannot be recorded',
    'Try again after the time in Retry-After.',
    true,
  ),
  overloaded: kind(503, 'intercept', 'The sidecar is at its limit', 'Try again after the time in Retry-After.', true),
  upstream_unreachable: kind(
    502,
    'forward',
    'The tool cannot be reached',
    'Try again later; the call may not have reached the tool.',
    true,
  ),
  upstream_tls: kind(
    502,
    'forward',
    'The TLS certificate of the tool is not valid',
    'Do not try other ways. Ask the owner of this sidecar to check the tool.',
  ),
  credential_refused: kind(
    502,
    'forward',
    'The tool does not accept the credential',
    'Try once more; if that fails too, ask the owner of this sidecar to check the tool and its token service.',
    true,
  ),
  internal_fault: kind(500, 'forward', 'The sidecar failed', 'The call was not let through. Report the event id.'),
} as const satisfies Record<string, RefusalKind>;

export type RefusalCode = keyof typeof refusalKinds;

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

  constructor(code: RefusalCode, detail: string = refusalKinds[code].title, retryAfter?: number) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(code);
    Error.stackTraceLimit = limit;
    this.code = code;
    this.detail = detail;
    this.retryAfter = retryAfter;
  }

  get kind(): RefusalKind {
    return kindOf(this.code);
  }
}
