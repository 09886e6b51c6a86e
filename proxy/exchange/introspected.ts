import type { Secret } from '../trust/secret.ts';
import { readStrictPayload } from '../trust/strict-jws.ts';

/**
 * Whether a service's word about a token is about another one, or about one that has ended: what it says of issuer, subject, end and key
 * (RFC 7662 2.2, RFC 9449 6.2) has to fit the token that was verified. What it leaves out is left to the token.
 */
export function contradicts(answer: Readonly<Record<string, unknown>>, token: Secret, nowMs: number): boolean {
  const claims = readStrictPayload(token.reveal());
  const { exp } = answer;
  if (exp !== undefined && !(typeof exp === 'number' && exp * 1000 > nowMs)) return true;
  if (['iss', 'sub', 'jti'].some((name) => answer[name] !== undefined && answer[name] !== claims[name])) return true;
  const [told, bound] = [keysOf(answer['cnf']), keysOf(claims['cnf'])];
  return [...told].some(([name, value]) => bound.get(name) !== value);
}

/** How a token is bound to a key (RFC 7800 3.1): the members of `cnf`. */
function keysOf(cnf: unknown): ReadonlyMap<string, unknown> {
  return new Map(typeof cnf === 'object' && cnf !== null ? Object.entries(cnf) : []);
}
