import type { World } from '../../world.ts';
import type { EndpointCall } from '../endpoint.ts';
import type { AuthenticateClient } from '../service-client.ts';
import type { ServiceSettings } from '../service-settings.ts';
import { clientSecretAuth } from './client-secret.ts';
import { type ClusterTokenSource, kubernetesJwtAuth, projectedTokens } from './kubernetes-jwt.ts';
import { privateKeyJwtAuth } from './private-key-jwt.ts';
import { type JwtSvidSource, spiffeJwtAuth } from './spiffe-jwt.ts';
import { currentSvid, spiffeX509Auth, type X509SvidSource } from './spiffe-x509.ts';
import { certificateFiles, type PresentCertificate, tlsClientAuth } from './tls-client.ts';

/** Where the proofs of who we are come from, beside the files that a service's settings name. */
export interface OwnClientOptions {
  readonly settings: ServiceSettings;
  readonly jwtSvids: JwtSvidSource;
  readonly x509Svids: X509SvidSource;
  /** Of `identity.kubernetes`, for services that name no file of their own. */
  readonly clusterTokens: ClusterTokenSource;
  readonly world: World;
}

/** Who we are to one service: what goes into each request, and the certificate of its connection, where that is the proof. */
export interface OwnClient {
  readonly authenticate: AuthenticateClient;
  readonly present: PresentCertificate | undefined;
}

/** The way that `client_auth` of a service names; the same for its token, revocation and introspection endpoints. */
export function openOwnClient(options: OwnClientOptions): OwnClient {
  const { settings, x509Svids, world } = options;
  switch (settings.client_auth) {
    case 'spiffe_x509':
      return { authenticate: spiffeX509Auth(x509Svids), present: async () => currentSvid(x509Svids) };
    case 'tls_client_auth': {
      const files = [required(settings.client_certificate_file), required(settings.client_key_file)] as const;
      return {
        authenticate: tlsClientAuth(required(settings.client_id)),
        present: certificateFiles(...files, world),
      };
    }
    default:
      return { authenticate: withoutCertificate(options), present: undefined };
  }
}

/** A call on whose connections the certificate is presented, unless a request has one of its own. */
export function presenting(call: EndpointCall, present: PresentCertificate | undefined): EndpointCall {
  if (present === undefined) return call;
  return async (url, init) => call(url, { ...init, certificate: init.certificate ?? (await present()) });
}

/** The ways that prove it within the request. */
function withoutCertificate({ settings, jwtSvids, clusterTokens, world }: OwnClientOptions): AuthenticateClient {
  const { client_auth: method, client_id: clientId, issuer, assertion } = settings;
  switch (method) {
    case 'spiffe_jwt':
      return spiffeJwtAuth(jwtSvids, issuer, clientId);
    case 'private_key_jwt':
      return privateKeyJwtAuth({
        clientId: required(clientId),
        issuer,
        keyFile: required(settings.client_key_file),
        keyId: settings.client_key_id,
        form: { audience: assertion?.audience ?? 'issuer', typ: assertion?.typ ?? 'client-authentication+jwt' },
        world,
      });
    case 'kubernetes_jwt':
      return kubernetesJwtAuth({
        source: settings.token_file === undefined ? clusterTokens : projectedTokens(settings.token_file, world),
        issuer,
        audience: assertion?.audience ?? 'issuer',
        clientId,
      });
    case 'client_secret_basic':
    case 'client_secret_post':
      return clientSecretAuth(method, required(settings.client_secret_file));
    default:
      throw new Error(`${method} proves nothing within a request`);
  }
}

/** The configuration makes sure that it is there; without it, nothing listens. */
function required(value: string | undefined): string {
  if (value === undefined) throw new Error('a setting of client_auth is missing');
  return value;
}
