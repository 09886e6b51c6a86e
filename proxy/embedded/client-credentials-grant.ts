import type { RequestContext } from 'oidc-provider/lib/provider.js';
import { findTarget, narrowScopes } from './grant-target.ts';
import { TokenRequest, type GrantDesk } from './token-request.ts';

/**
 * RFC 6749 4.4 with `resource` and `audience`: the client acting for itself. It stands in for the provider's own handler, which
 * knows one resource and no audience.
 */
export async function grantClientCredentials(desk: GrantDesk, ctx: RequestContext): Promise<void> {
  const request = await TokenRequest.read(desk, ctx, 'client_credentials');
  const named = { resource: request.all('resource'), audience: request.all('audience') };
  const target = isForItself(named)
    ? { audience: [desk.issuer], scopes: new Set<string>() }
    : findTarget(desk.resources, named);
  const scopes = narrowScopes(request.one('scope'), target, [new Set(request.client.scopes)]);
  const expiresAt = Math.floor(desk.now() / 1000) + desk.ttlSeconds;
  await request.grant(desk, { audience: target.audience, scopes, expiresAt }, {});
}

/** Without a target the token is good at this service alone, without scopes: for a client that names itself as actor with it. */
function isForItself(named: { readonly resource: readonly string[]; readonly audience: readonly string[] }): boolean {
  return named.resource.length === 0 && named.audience.length === 0;
}
