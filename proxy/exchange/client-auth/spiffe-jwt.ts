import { UnprovenRefusal } from '../../refusal.ts';
import { IdentityUnavailable } from '../../spiffe/identity-unavailable.ts';
import type { Deadline } from '../deadline.ts';
import type { AuthenticateClient } from '../service-client.ts';

/** Port: JWT-SVIDs of this workload, one audience each (SPIFFE Workload API). Rejects while there is no identity. */
export interface JwtSvidSource {
  fetchJwtSvid(audience: string, timeoutMs: number): Promise<JwtSvid>;
}

/** One JWT-SVID. It is a bearer token: it goes to the one service that its audience names, and nowhere else. */
export interface JwtSvid {
  token(): string;
  readonly spiffeId: string;
  readonly expiresAtMs: number;
}

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';

/**
 * Client authentication `spiffe_jwt` (draft-ietf-oauth-spiffe-client-auth): a JWT-SVID whose only audience is the issuer. With the
 * token endpoint's URL as audience instead, a service that claims another's endpoint could present our assertion there.
 * @param clientId sent along where it is configured; the SVID alone names the client.
 */
export function spiffeJwtAuth(source: JwtSvidSource, issuer: string, clientId: string | undefined): AuthenticateClient {
  return (deadline) => async (_as, _client, body) => {
    const svid = await fetchSvid(source, issuer, deadline);
    body.set('client_assertion_type', assertionType);
    body.set('client_assertion', svid.token());
    if (clientId !== undefined) body.set('client_id', clientId);
  };
}

/** A JWT-SVID for one service. Rejects with `identity_unavailable`; of the cause it has the one word. */
export async function fetchSvid(source: JwtSvidSource, audience: string, deadline: Deadline): Promise<JwtSvid> {
  // Outside: a deadline that is over is the service's, and says nothing of the identity.
  const leftMs = deadline.leftMs();
  try {
    return await source.fetchJwtSvid(audience, leftMs);
  } catch (error) {
    throw new UnprovenRefusal(undefined, error instanceof IdentityUnavailable ? error.reason : 'no_svid');
  }
}
