import { IssuerMetadata } from '../trust/issuer-metadata.ts';
import { JwksCache } from '../trust/jwks.ts';
import type { TokenCustody } from './custody.ts';
import { type EndpointCall, EndpointFault } from './endpoint.ts';
import { TokenService } from './service.ts';
import type { TokenDeskOptions } from './token-desk.ts';

/** All services over one set of keys and metadata. */
export function openServices(
  options: Omit<TokenDeskOptions, 'onDeadGrant'>,
  custody: TokenCustody,
): ReadonlyMap<string, TokenService> {
  const { world, jwtSvids, x509Svids, clusterTokens, trail } = options;
  const call = guardCall(options.call);
  const keys = new JwksCache(world, call);
  const metadata = new IssuerMetadata(world, call);
  const takeBack = custody.takeBack.bind(custody);
  const shared = { world, jwtSvids, x509Svids, clusterTokens, trail, call, keys, metadata, takeBack };
  const services = new Map<string, TokenService>();
  const find = (name: string): TokenService | undefined => services.get(name);
  for (const [name, settings] of options.services) {
    services.set(name, new TokenService({ ...shared, name, settings, find }));
  }
  return services;
}

/** Whatever the adapter throws becomes one of our own errors, so that no text from elsewhere travels on. */
function guardCall(call: EndpointCall): EndpointCall {
  return async (url, init) => {
    try {
      return await call(url, init);
    } catch (error) {
      throw error instanceof EndpointFault ? error : new EndpointFault('unreachable');
    }
  };
}
