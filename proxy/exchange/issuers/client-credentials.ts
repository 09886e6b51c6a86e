import { type Target, targetParameters } from './rfc8693.ts';

export const clientCredentialsGrant = 'client_credentials';

/** Form parameters for a token of our own (RFC 6749 4.4): the agent acts for itself, and nobody else is named. */
export function clientCredentialsParameters(target: Target): URLSearchParams {
  return targetParameters(target);
}
