import type { ServiceError } from '../refusal.ts';

/** What each code means, after the name of the service. */
const words: Readonly<Record<ServiceError, string>> = {
  invalid_request: 'calls the request for this token invalid',
  invalid_client: "does not accept this sidecar's client authentication",
  invalid_grant: 'does not accept the grant that it was shown',
  unauthorized_client: 'does not let this client use this grant',
  unsupported_grant_type: 'does not know this grant',
  invalid_scope: 'does not grant the scopes that were asked for',
  invalid_target: 'does not grant a token for the audience or resource that was asked for',
  invalid_dpop_proof: "does not accept this sidecar's DPoP proof",
  use_dpop_nonce: 'wants another nonce in the DPoP proof',
};

/** Port: hears that a service refuses what it is asked for. @param detail what that means, in our own words. */
export type TellServiceError = (service: string, error: ServiceError, detail: string) => void;

/** The code, where it is one of the closed set. A service's own text is none: it may quote what we sent. */
export function knownError(code: string | undefined): ServiceError | undefined {
  return isKnown(code) ? code : undefined;
}

function isKnown(code: string | undefined): code is ServiceError {
  return code !== undefined && Object.hasOwn(words, code);
}

/** The code in words and by its name, for a sentence about the service. @param meaning where more is known than the code says. */
export function wordsOf(error: ServiceError, meaning: string = words[error]): string {
  return `${meaning} (${error})`;
}
