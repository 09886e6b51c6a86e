import type { Secret } from '../../trust/secret.ts';
import { type Target, targetParameters } from './rfc8693.ts';

export const jwtBearerGrant = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/**
 * Form parameters of RFC 7523 2.1: a signed statement is handed in for a token. Whose it is, the order says: the task's own subject
 * token, our JWT-SVID, or what another service issued for this one.
 */
export function jwtBearerParameters(target: Target, assertion: Secret): URLSearchParams {
  const form = targetParameters(target);
  form.set('assertion', assertion.reveal());
  return form;
}
