import type { BodyWatch } from '../intercept/body-watch.ts';
import type { Call } from '../intercept/call.ts';
import { Refusal } from '../refusal.ts';
import { NameMemo } from '../trust/name-memo.ts';
import { holdsMark, markOf } from '../trust/token-mark.ts';
import type { CallerCredential } from './credential.ts';

/**
 * The parameter that a token comes in where it does not come in a header (RFC 6750 2.2, 2.3), behind what begins one: each letter as it is
 * or escaped.
 */
const parameter = new RegExp(`[&;]${'access_token'.replaceAll(/./g, eitherWay)}=`);
/** Bytes of its longest spelling. */
const longest = 1 + 3 * 'access_token'.length + 1;

function eitherWay(letter: string): string {
  const [first = '', second = ''] = letter.charCodeAt(0).toString(16);
  return `(?:${letter}|%${first}[${second}${second.toUpperCase()}])`;
}

/**
 * A token has one place in a request, and where it has that the query is none (RFC 6750 2): there it would stand in the program's log, since
 * targets are forwarded byte for byte (W13).
 * @param token What stands in `Authorization`, verified.
 */
export function checkQuery({ target: { path } }: Call, token: string): void {
  const at = path.indexOf('?');
  if (at === -1) return;
  const query = path.slice(at + 1);
  if (parameter.test(`&${query}`) || holdsMark(query, markOf(token))) throw standsIn('query');
}

/**
 * Nor is a form (RFC 6750 2.2). What else is in a body is between caller and program.
 * @returns undefined for a request that carries no token, or no form.
 */
export function watchForm(call: Call, { token }: CallerCredential): BodyWatch | undefined {
  return token !== undefined && isForm(call) ? formWatch : undefined;
}

const formWatch: BodyWatch = {
  isIn: (body) => parameter.test(`&${body.toString('latin1')}`),
  holds: (bytes) => parameter.test(bytes.toString('latin1')),
  // The name alone may go on: what follows it does not.
  tail: () => 0,
  span: longest,
  before: Buffer.from('&'),
  refusal: () => standsIn('body'),
};

function standsIn(place: 'query' | 'body'): Refusal {
  return new Refusal(
    'message_malformed',
    `An access token stands in the ${place} too; send it in Authorization alone.`,
  );
}

/** Folded as CGI-like programs fold it. */
const isTypeName = new NameMemo((name) => name.toLowerCase().replaceAll(/[_.]/g, '-') === 'content-type');

function isForm({ headers: { forward } }: Call): boolean {
  for (let at = 0; at < forward.length; at += 2) {
    if (isTypeName.of(forward[at] ?? '') && /^application\/x-www-form-urlencoded\b/i.test(forward[at + 1] ?? ''))
      return true;
  }
  return false;
}
