import { createPrivateKey, X509Certificate } from 'node:crypto';
import { UnprovenRefusal } from '../../refusal.ts';
import { ClientCertificate } from '../../trust/client-certificate.ts';
import type { World } from '../../world.ts';
import type { AuthenticateClient } from '../service-client.ts';
import { readSecretFile } from './secret-file.ts';

/** The certificate to present to a service now. Rejects with `identity_unavailable`. */
export type PresentCertificate = () => Promise<ClientCertificate>;

/**
 * Client authentication `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705 2): the certificate of the connection is the
 * proof, and `client_id` says whose it should be.
 */
export function tlsClientAuth(clientId: string): AuthenticateClient {
  return () => (_as, _client, body) => {
    body.set('client_id', clientId);
  };
}

/**
 * A certificate with its key from two files, read at each use. They are replaced one after the other: while they do not fit, the pair
 * before them is presented, as long as it lives, so that a rotation fails no request.
 */
export function certificateFiles(certificateFile: string, keyFile: string, world: World): PresentCertificate {
  let last: { readonly texts: string; readonly certificate: ClientCertificate } | undefined;
  return async () => {
    try {
      const chain = await readSecretFile(certificateFile, 'client certificate');
      const key = await readSecretFile(keyFile, 'client key');
      const texts = `${chain}\n${key}`;
      if (last?.texts !== texts) last = { texts, certificate: parsePair(chain, key, certificateFile) };
    } catch (error) {
      if (last === undefined || last.certificate.expiresAtMs <= world.now()) throw error;
    }
    return last.certificate;
  };
}

const pemCertificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Whatever is wrong with the files is one refusal: errors of OpenSSL could quote what they read. */
function parsePair(chain: string, key: string, certificateFile: string): ClientCertificate {
  try {
    const certificates = (chain.match(pemCertificate) ?? []).map((pem) => new X509Certificate(pem).raw);
    return new ClientCertificate({ chain: certificates, key: createPrivateKey(key), spiffeId: undefined });
  } catch {
    throw new UnprovenRefusal('The client certificate of a token service cannot be used.', 'unusable', certificateFile);
  }
}
