import type { Settings } from '../config/settings.ts';
import { ServiceChoice } from './exchange/service-choice.ts';
import { openAskTool } from './forward/ask-tool.ts';
import type { Upstreams } from './forward/upstream.ts';
import type { ProcessLog } from './process-log.ts';
import type { World } from './world.ts';

/** Wires the choice of token services to the tools that are asked for it. */
export function openServiceChoice(
  settings: Settings,
  upstreams: Upstreams,
  pseudonym: string,
  world: World,
  log: ProcessLog,
): ServiceChoice {
  return new ServiceChoice({
    issuers: new Map([...settings.token_services].map(([name, service]) => [name, service.issuer])),
    ask: openAskTool(upstreams, pseudonym),
    world,
    onUnlisted: (tool, wanted) => {
      log.warn({ tool, wanted }, 'the tool takes tokens of no token service that is configured for it');
    },
  });
}
