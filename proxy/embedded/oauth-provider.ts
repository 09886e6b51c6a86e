import { randomBytes } from 'node:crypto';
import type { JWK, JWTHeaderParameters, JWTPayload } from 'jose';
import { InvalidClientAuth, InvalidRequest } from 'oidc-provider/lib/helpers/errors.js';
import { Provider, type ProviderClient, type RequestContext } from 'oidc-provider/lib/provider.js';
import type { TokenLedger } from './token-ledger.ts';

/** Paths of the endpoints below the issuer. */
export const endpointPaths = {
  token: '/token',
  introspection: '/token/introspection',
  revocation: '/token/revocation',
  jwks: '/jwks',
} as const;

const clientAuthMethods = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'];
/** Longest life of a client assertion, seconds. */
const assertionSeconds = 300;

/** How the provider is to be set up. */
export interface ProviderSettings {
  /** Private P-256 key with `kid`. */
  readonly signingKey: JWK;
  readonly clients: readonly object[];
  readonly ttlSeconds: number;
  /** Token requests with a DPoP proof must carry a nonce of ours (RFC 9449 8). */
  readonly demandNonce: boolean;
  /** Whether `spiffe_jwt` is offered as client authentication. */
  readonly spiffe: boolean;
}

/**
 * An oidc-provider that is nothing but a token service: no login pages, no sessions. It prints nothing: every default that
 * announces itself on the console (keys, storage, policies, pages) is replaced here.
 */
export function openProvider(issuer: string, settings: ProviderSettings, ledger: TokenLedger): Provider {
  const provider = new Provider(issuer, {
    adapter: (model: string) => ledger.storageFor(model),
    jwks: { keys: [settings.signingKey] },
    clients: settings.clients,
    clientAuthMethods,
    enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384', 'Ed25519', 'EdDSA'] },
    assertJwtClientAuthClaimsAndHeader: async (_ctx: unknown, claims: JWTPayload, header: JWTHeaderParameters) =>
      checkAssertion(issuer, ledger, claims, header),
    // There is one key, P-256; the default RS256 would have none.
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    clientBasedCORS: () => false,
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    // No response types, so no authorization code or implicit grant: the routes exist and refuse.
    responseTypes: [],
    scopes: [],
    routes: endpointPaths,
    ttl: { AccessToken: settings.ttlSeconds, ClientCredentials: settings.ttlSeconds },
    extraTokenClaims: (_ctx: unknown, token: { extra?: object }) => token.extra,
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      userinfo: { enabled: false },
      dPoP: {
        enabled: true,
        requireNonce: () => settings.demandNonce,
        ...(settings.demandNonce ? { nonceSecret: randomBytes(32) } : {}),
      },
      // Any client may ask: what is tested with it is whether a token is live, and "not yours" would look like "not live".
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: checkRevoker },
    },
    findAccount: (_ctx: unknown, sub: string) => ({ accountId: sub, claims: () => ({ sub }) }),
    renderError: (ctx: RequestContext, out: object) => {
      ctx.body = out;
    },
  });
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.path.startsWith('/.well-known/')) ctx.body = describe(ctx.body, settings);
  });
  return provider;
}

/** rfc7523bis: for this issuer alone, said to be what it is, of short life, and used once. Its signature has been verified. */
function checkAssertion(
  issuer: string,
  ledger: TokenLedger,
  { iss, sub, aud, exp = 0, iat = 0, jti = '' }: JWTPayload,
  { typ }: JWTHeaderParameters,
): void {
  const isNew = typ === 'client-authentication+jwt' && aud === issuer && sub === iss && exp - iat <= assertionSeconds;
  if (!isNew || !ledger.claimProof(`assertion of ${sub ?? ''}`, jti))
    throw new InvalidClientAuth('not for this service');
}

/** RFC 7009 2.1: only the client that a token was issued to may revoke it, and another is told so. */
function checkRevoker(_ctx: unknown, client: ProviderClient, token: { readonly clientId: string }): boolean {
  if (token.clientId !== client.clientId) throw new InvalidRequest('the token was issued to another client');
  return true;
}

/** The metadata of RFC 8414: what the front door adds, and without the endpoints that have no use here. */
function describe(found: unknown, { spiffe }: ProviderSettings): unknown {
  if (typeof found !== 'object' || found === null) return found;
  const { authorization_endpoint: _unused, ...metadata }: { authorization_endpoint?: unknown } = found;
  const methods = spiffe ? [...clientAuthMethods, 'spiffe_jwt'] : clientAuthMethods;
  return {
    ...metadata,
    token_endpoint_auth_methods_supported: methods,
    introspection_endpoint_auth_methods_supported: methods,
    revocation_endpoint_auth_methods_supported: methods,
  };
}
