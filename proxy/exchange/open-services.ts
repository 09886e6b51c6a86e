import { isDeepStrictEqual } from 'node:util';
import { IssuerMetadata } from '../trust/issuer-metadata.ts';
import { JwksCache } from '../trust/jwks.ts';
import type { TokenCustody } from './custody.ts';
import { type EndpointCall, EndpointFault } from './endpoint.ts';
import { onceAMinute } from '../once-a-minute.ts';
import { TokenService } from './service.ts';
import type { ServiceSettings } from './service-settings.ts';
import type { TokenDeskOptions } from './token-desk.ts';

/** The services of the configuration, over one set of keys and metadata. */
export class OpenServices {
  readonly #make: (name: string, settings: ServiceSettings) => TokenService;
  #settings: ReadonlyMap<string, ServiceSettings> = new Map();
  #services: ReadonlyMap<string, TokenService> = new Map();

  constructor(options: Omit<TokenDeskOptions, 'onDeadGrant'>, custody: TokenCustody) {
    const { world, jwtSvids, x509Svids, clusterTokens, trail, vouchedBy } = options;
    const call = guardCall(options.call);
    const keys = new JwksCache(world, call, vouchedBy);
    const metadata = new IssuerMetadata(world, call, vouchedBy);
    const takeBack = custody.takeBack.bind(custody);
    // One may act with the help of another: that of now.
    const find = (name: string): TokenService | undefined => this.#services.get(name);
    const onServiceError = onceAMinute(world, options.onServiceError);
    const shared = {
      world,
      jwtSvids,
      x509Svids,
      clusterTokens,
      trail,
      onServiceError,
      call,
      vouchedBy,
      keys,
      metadata,
      takeBack,
      find,
    };
    this.#make = (name, settings) => new TokenService({ ...shared, name, settings });
    this.adopt(options.services);
  }

  get(name: string): TokenService | undefined {
    return this.#services.get(name);
  }

  /** Takes the services of another configuration; one that is as it was keeps what it knows. Returns which were and are no more. */
  adopt(settings: ReadonlyMap<string, ServiceSettings>): ReadonlySet<string> {
    const isAsBefore = (name: string): boolean => isDeepStrictEqual(settings.get(name), this.#settings.get(name));
    const gone = new Set([...this.#settings.keys()].filter((name) => !isAsBefore(name)));
    const kept = (name: string): TokenService | undefined => (isAsBefore(name) ? this.#services.get(name) : undefined);
    this.#services = new Map([...settings].map(([name, one]) => [name, kept(name) ?? this.#make(name, one)]));
    this.#settings = settings;
    return gone;
  }
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
