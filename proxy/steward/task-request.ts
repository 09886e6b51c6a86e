import { z } from 'zod';
import { parseDuration } from '../../config/durations.ts';
import { count } from '../../config/shape-errors.ts';
import { Problem } from './problem.ts';

const duration = z.string().transform((text, context) => {
  const ms = parseDuration(text);
  if (ms !== undefined && ms > 0) return ms;
  context.addIssue({ code: 'custom', message: 'must be a duration such as 10m' });
  return z.NEVER;
});

const tokenTypes = [
  'urn:ietf:params:oauth:token-type:access_token',
  'urn:ietf:params:oauth:token-type:jwt',
  'urn:ietf:params:oauth:token-type:id_token',
] as const;

const uid = z.int().min(0).max(4_294_967_294).optional();

/** Who may call in the task, beyond its user: a process, whoever runs an executable. */
const peer = z.strictObject({
  uid,
  pid: z.int().min(1).max(4_194_304).optional(),
  descendants: z.boolean().optional(),
  executable: z.string().max(4096).regex(/^\/./, 'must be an absolute path').optional(),
});

const openRequest = z.strictObject({
  subject_token: z.string().min(1).max(16_384),
  subject_token_type: z.enum(tokenTypes).default(tokenTypes[0]),
  purpose: z.string().min(1).max(200).optional(),
  tools: z.array(z.string().max(100)).max(1000).optional(),
  handles: z.enum(['task', 'per_tool']).default('task'),
  deadline: duration.optional(),
  uses: z.int().min(1).max(1_000_000).optional(),
  uid,
  peer: peer.default({}),
  parent: z.string().max(100).optional(),
});

const endRequest = z.strictObject({ reason: z.string().max(500).optional() });

/** Body of `POST /v1/tasks` (WIRE 1). Times are milliseconds. */
export type OpenTaskRequest = z.output<typeof openRequest>;

/** Throws `request_invalid`, naming the members that are wrong and never their values. */
export function parseOpenRequest(body: unknown): OpenTaskRequest {
  return parse(openRequest, body);
}

export function parseEndRequest(body: unknown): { reason?: string | undefined } {
  return parse(endRequest, body ?? {});
}

/** Reads a body by a schema. Throws `request_invalid` as above. */
export function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${plain(issue, body)}`);
  throw new Problem('request_invalid', `${issues.join('; ')}.`);
}

/** A token that slipped into the place of a name must not come back in an error (W8). */
function printable(name: string): string {
  return /^[a-z_]{1,30}$/.test(name) ? name : '(not printable)';
}

const forms: Readonly<Record<string, string>> = {
  string: 'text',
  array: 'a list',
  object: 'an object',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};

/** The words of the parser are for programmers, and are never shown as they are. */
function plain(issue: z.core.$ZodIssue, body: unknown): string {
  const value = issue.path.reduce<unknown>((outer, step) => Reflect.get(Object(outer), step), body);
  if (value === undefined) return 'is missing';
  switch (issue.code) {
    case 'unrecognized_keys':
      return `unknown member ${issue.keys.map(printable).join(', ')}`;
    case 'invalid_type':
      return `must be ${forms[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `must be ${issue.values.map(String).join(' or ')}`;
    case 'too_small':
      return issue.origin === 'string' && issue.minimum === 1
        ? 'must not be empty'
        : `must ${count(issue.origin, 'at least', issue.minimum)}`;
    case 'too_big':
      return `must ${count(issue.origin, 'at most', issue.maximum)}`;
    default:
      // Of a check that has a sentence of its own.
      return issue.message;
  }
}
