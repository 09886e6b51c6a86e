import type { RefusalKind, Stage, Way } from './refusal.ts';

/** The closed catalogue of refusals, in rows: status, stage, title, hint, whether it passes by itself. */
const kind = (status: number, stage: Stage, title: string, hint: string, retryable = false): RefusalKind => ({
  status,
  stage,
  title,
  hint,
  retryable,
});
/** What passes by itself. */
const later = (stage: Stage, title: string): RefusalKind =>
  kind(503, stage, title, 'Try again after the time in Retry-After.', true);
const replayOut = (grade: 'proven' | 'suspected', title: string, hint: string): RefusalKind => ({
  ...kind(403, 'identify', title, hint),
  replay: grade,
});
const fresh = 'Send the request again with a token and a proof made for exactly this request.';
const token = (title: string, hint = fresh): RefusalKind => kind(401, 'verify', title, hint);
const replayIn = (grade: 'proven' | 'suspected', title: string): RefusalKind => ({ ...token(title), replay: grade });
const anew = 'Do not try other ways. The delegation has to be made anew, hop by hop.';
const chain = (title: string): RefusalKind => kind(403, 'verify', title, anew);
const chainReplay = (grade: 'proven' | 'suspected', title: string): RefusalKind => ({ ...chain(title), replay: grade });

/** Both ways. */
const shared = {
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
  denied_by_rule: kind(
    403,
    'decide',
    'A rule denies the call',
    'Do not try other ways. Ask the owner of this sidecar.',
  ),
  approval_required: kind(403, 'decide', 'The call needs an approval', 'Do not try other ways. Ask for an approval.'),
  record_unavailable: later('admit', 'The call cannot be recorded'),
  overloaded: later('intercept', 'The sidecar is at its limit'),
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
  answer_unreadable: kind(
    502,
    'forward',
    'The answer of the tool is in a coding that cannot be screened',
    'Ask for the answer in another form. The tool has done what it was asked.',
  ),
  internal_fault: kind(500, 'forward', 'The sidecar failed', 'The call was not let through. Report the event id.'),
  token_service_unavailable: later('exchange', 'The token service does not answer'),
  identity_unavailable: later('exchange', 'The workload has no identity at the moment'),
  fleet_unavailable: kind(
    503,
    'exchange',
    'It is not known at the moment what was revoked at other sidecars',
    'Wait for the time in Retry-After and send the same call again, for a minute. Then stop, and tell the owner of this sidecar.',
    true,
  ),
} as const satisfies Record<string, RefusalKind>;

const wayOut = {
  credential_leak: replayOut(
    'proven',
    'The call carries a handle or a credential where it does not belong',
    'Send the handle as a credential only, never in a path, a query, a cookie, another header or a body.',
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
  handle_ended: replayOut(
    'suspected',
    'The task of this handle has ended',
    'Stop: the task is over. A new task gets a new handle.',
  ),
  handle_unknown: replayOut(
    'suspected',
    'The handle is not one of this sidecar',
    'Use the handle exactly as it was given for this task.',
  ),
  handle_foreign_tool: replayOut(
    'proven',
    'The handle was issued for another tool',
    'Use each handle only at the tool it was issued for.',
  ),
  handle_foreign_peer: replayOut(
    'proven',
    'The handle was issued for another process',
    'Use a handle only in the process it was issued for.',
  ),
  handle_spent: replayOut(
    'proven',
    'The handle was issued for fewer uses',
    'Stop: the handle is used up. A new one comes with a new task.',
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
  credential_refused: kind(
    502,
    'forward',
    'The tool does not accept the credential',
    'Try once more; if that fails too, ask the owner of this sidecar to check the tool and its token service.',
    true,
  ),
  chain_unsignable: kind(
    403,
    'bind',
    'The sidecar has no identity to sign the delegation with',
    'Ask the owner of this sidecar.',
  ),
} as const satisfies Record<string, RefusalKind>;

const wayIn = {
  token_missing: token('The request carries no access token', 'Send an access token for this resource, with a proof.'),
  token_invalid: token('The access token is not valid here'),
  proof_missing: token('The request carries no proof of possession'),
  proof_ambiguous: token('The request carries more than one proof'),
  proof_invalid: token('The proof is not a valid DPoP proof'),
  nonce_required: token(
    'The proof needs the nonce of this answer',
    'Send it again with a proof that holds DPoP-Nonce.',
  ),
  clock_skew: token('The proof was made in the future', 'Set the clock, and send it again with a fresh proof.'),
  proof_reused: replayIn('proven', 'The proof was used before'),
  proof_wrong_method: replayIn('proven', 'The proof is for another method'),
  proof_wrong_target: replayIn('proven', 'The proof is for another target'),
  proof_wrong_token: replayIn('proven', 'The proof is for another token'),
  proof_wrong_body: replayIn('proven', 'The digest is of another body'),
  proof_wrong_chain: replayIn('proven', 'The proof is for another delegation chain'),
  token_foreign_presenter: replayIn('proven', 'The token belongs to another key'),
  token_spent: replayIn('proven', 'The token is good for one request, and was used before'),
  token_wrong_audience: replayIn('suspected', 'The token is for another resource'),
  proof_expired: replayIn('suspected', 'The proof is too old'),
  caller_not_allowed: kind(
    403,
    'verify',
    'This caller may not call here',
    'Do not try other ways. Ask the owner of this service.',
  ),
  chain_missing: chain('The request carries no delegation chain'),
  chain_too_deep: chain('The delegation chain is too long'),
  chain_spliced: chainReplay('proven', 'The delegation chain was changed on its way'),
  chain_off_path: chainReplay('proven', 'The delegation chain leads elsewhere'),
  chain_broken: chainReplay('suspected', 'The delegation chain is not valid'),
  ledger_full: later('claim', 'The sidecar cannot remember more proofs'),
  ledger_warming: later('claim', 'The sidecar was started a moment ago'),
} as const satisfies Record<string, RefusalKind>;

export const refusalKinds = { ...shared, ...wayOut, ...wayIn };

export type RefusalCode = keyof typeof refusalKinds;

/** The ways on which a code can be said. */
export function waysOf(code: RefusalCode): readonly Way[] {
  if (Object.hasOwn(shared, code)) return ['out', 'in'];
  return Object.hasOwn(wayOut, code) ? ['out'] : ['in'];
}
