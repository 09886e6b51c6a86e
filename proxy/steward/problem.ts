import type { ServerResponse } from 'node:http';

/** What the operator's API refuses, and why; for orchestrators and people. */
const problems = {
  request_invalid: [400, 'The request is not valid'],
  tool_unknown: [400, 'There is no tool of that name'],
  token_missing: [401, 'The operator’s API needs a bearer token'],
  role_missing: [403, 'The role of this token may not do that'],
  host_forbidden: [403, 'The request does not name this listener'],
  peer_not_allowed: [403, 'This connection is not of the agent'],
  token_spent: [403, 'The subject token has opened its task before'],
  subject_token_invalid: [403, 'The subject token is not accepted'],
  subject_revoked: [403, 'The subject token was issued before a revocation'],
  purpose_not_allowed: [403, 'The purpose does not allow that'],
  parent_not_open: [409, 'The parent task is not open'],
  not_found: [404, 'There is nothing here'],
  method_not_allowed: [405, 'This method is not served here'],
  task_not_open: [409, 'The task has ended'],
  too_many_tasks: [429, 'Too many tasks are open'],
  too_many_followers: [429, 'Too many follow the record'],
  issuer_unavailable: [503, 'The keys of the issuer cannot be had'],
  fleet_unavailable: [503, 'It is not known at the moment what was revoked at other sidecars'],
  revocation_not_kept: [500, 'Revoked here and now, but it could not be kept for a restart'],
  internal_fault: [500, 'The sidecar failed'],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type ProblemCode = keyof typeof problems;

/** A refused request to the operator's API. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly detail: string;
  /** Methods that are served, where another one was used (RFC 9110 15.5.6). */
  readonly allow: string | undefined;

  constructor(code: ProblemCode, detail?: string, allow?: string) {
    super(code);
    this.code = code;
    this.detail = detail ?? problems[code][1];
    this.allow = allow;
  }
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': String(Buffer.byteLength(text)),
    ...headers,
  });
  response.end(text);
}

/** Answers with problem+json (RFC 9457). */
export function sendProblem(response: ServerResponse, problem: Problem): void {
  const [status, title] = problems[problem.code];
  const body = {
    type: `https://waybill.dev/problems/${problem.code}`,
    title,
    status,
    code: problem.code,
    detail: problem.detail,
  };
  sendJson(response, status, body, {
    'Content-Type': 'application/problem+json',
    // The rest of a body that was not read must not become the next request.
    Connection: 'close',
    ...(problem.allow === undefined ? {} : { Allow: problem.allow }),
    ...(status === 401 ? { 'WWW-Authenticate': 'Bearer realm="waybill-operator"' } : {}),
    ...(status === 503 ? { 'Retry-After': '1' } : {}),
  });
}
