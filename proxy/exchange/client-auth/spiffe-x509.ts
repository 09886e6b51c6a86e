import { UnprovenRefusal } from '../../refusal.ts';
import type { ClientCertificate } from '../../trust/client-certificate.ts';
import type { AuthenticateClient } from '../service-client.ts';

/** Port: our X.509-SVID as a certificate for TLS, the same object for as long as it is the same SVID; undefined while there is none. */
export interface X509SvidSource {
  certificate(): ClientCertificate | undefined;
}

/** A certificate that names a SPIFFE ID. */
export type SvidCertificate = ClientCertificate & { readonly spiffeId: string };

/**
 * Client authentication `spiffe_x509` (draft-ietf-oauth-spiffe-client-auth 4.2): the X.509-SVID of the connection is the proof, and
 * `client_id`, which has to be there, is its SPIFFE ID. The service itself is checked by the Web PKI.
 */
export function spiffeX509Auth(source: X509SvidSource): AuthenticateClient {
  return () => (_as, _client, body) => {
    body.set('client_id', currentSvid(source).spiffeId);
  };
}

/** The SVID to present now. Throws `identity_unavailable`. */
export function currentSvid(source: X509SvidSource): SvidCertificate {
  const certificate = source.certificate();
  if (certificate === undefined || !hasSpiffeId(certificate)) throw new UnprovenRefusal(undefined, 'no_svid');
  return certificate;
}

function hasSpiffeId(certificate: ClientCertificate): certificate is SvidCertificate {
  return certificate.spiffeId !== undefined;
}
