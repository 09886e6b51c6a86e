import type { Settings } from '../config/settings.ts';
import { type PrivateAuthorities, privateAuthorities } from './exchange/endpoint-connections.ts';
import { type Endpoints, openEndpoints } from './exchange/endpoints.ts';
import type { ProcessLog } from './process-log.ts';
import type { EgressGuard } from './route/egress-guard.ts';
import type { World } from './world.ts';

/** The authorities of issuers, services and transmitters that the public ones do not vouch for. */
export function authoritiesOf({ trust, token_services: services, signals }: Settings): PrivateAuthorities {
  return privateAuthorities([...trust.issuers, ...services.values(), ...(signals?.transmitters ?? [])]);
}

/** The way to token services and issuers. Why one gives no answer is for the operator: whoever calls is told only that there is none. */
export function openEndpointsOf(settings: Settings, guard: EgressGuard, world: World, log: ProcessLog): Endpoints {
  const what = 'a token service or issuer gives no answer, or says that it is not well';
  return openEndpoints(guard, world, authoritiesOf(settings), (trouble) => log.warn(trouble, what));
}
