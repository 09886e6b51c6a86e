import { randomBytes, X509Certificate } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider, type RequestContext } from 'oidc-provider/lib/provider.js';
import { agentId } from '../fakes/token-desk.ts';

/** oidc-provider over TLS, whose one client is known by the URI in its certificate (RFC 8705 2.1.2), and gets bound tokens. */
export interface CertifiedProvider {
  readonly issuer: string;
  readonly faults: unknown[];
  /** There are no users here. */
  subjectToken(): Promise<string>;
  close(): Promise<void>;
}

/** Starts one. @param resource what tokens can be for. */
export async function openCertifiedProvider(
  tls: { readonly cert: string; readonly key: string; readonly clientCa: readonly string[] },
  resource: string,
): Promise<CertifiedProvider> {
  const { cert, key, clientCa } = tls;
  const server = createServer({ cert, key, ca: [...clientCa], requestCert: true, rejectUnauthorized: false });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const issuer = `https://localhost:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, await configurationOf(resource));
  const faults: unknown[] = [];
  provider.on('server_error', (_ctx, error) => faults.push(error));
  const callback = provider.callback();
  server.on('request', (request, response) => void callback(request, response));
  return {
    issuer,
    faults,
    subjectToken: async () => 'e30.e30.e30',
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

async function configurationOf(resource: string): Promise<object> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const signing = { ...(await exportJWK(privateKey)), kid: 'sig', alg: 'ES256', use: 'sig' };
  return {
    jwks: { keys: [signing] },
    // Nothing is kept, and nothing is printed about it.
    adapter: () => ({ find: async () => undefined, upsert: async () => undefined }),
    ttl: { ClientCredentials: 300 },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    clientAuthMethods: ['tls_client_auth'],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    clients: [
      {
        client_id: agentId,
        token_endpoint_auth_method: 'tls_client_auth',
        tls_client_auth_san_uri: agentId,
        tls_client_certificate_bound_access_tokens: true,
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
        scope: 'crm.read',
      },
    ],
    scopes: ['crm.read'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'crm.read',
          audience: resource,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        certificateBoundAccessTokens: true,
        getCertificate: (ctx: RequestContext) => certificateOf(ctx),
        certificateAuthorized: ({ req }: RequestContext) => req.socket instanceof TLSSocket && req.socket.authorized,
        certificateSubjectMatches: (ctx: RequestContext, _property: string, expected: string) =>
          certificateOf(ctx)?.subjectAltName === `URI:${expected}`,
      },
    },
  };
}

function certificateOf({ req: { socket } }: RequestContext): X509Certificate | undefined {
  return socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
}
