import { isLoopbackAddress, type IpPort } from './addresses.ts';
import type { InboundSettings } from './inbound.ts';
import type { Settings } from './settings.ts';

/** Every setting that lowers safety and is on, such as `tools.crm.unsafe_bearer`: printed at start and counted in a metric (W9). */
export function listUnsafe(settings: Settings): readonly string[] {
  return [
    ...[...settings.tools.values()].flatMap((tool) => [
      ...listSwitches(`tools.${tool.name}`, tool),
      // Without a credential the session is the agent's own.
      ...(tool.cookies === 'pass' && (tool.token ?? tool.secret) !== undefined ? [`tools.${tool.name}.cookies`] : []),
    ]),
    ...(settings.inbound === undefined ? [] : listInbound(settings.inbound)),
    ...listSwitches('fleet', settings.fleet ?? {}),
    ...(settings.signals === undefined ? [] : listSwitches('signals', settings.signals)),
    ...listOpen(settings).map(([name]) => name),
  ];
}

/** Whoever reaches the way out calls as the agent, and what is said to the operator's port is plain http: both are for this machine or pod. */
export function listOpen({ listen, operator }: Settings): readonly (readonly [setting: string, place: IpPort])[] {
  // Without a token that port is not opened.
  const isOpened = Object.values(operator.tokens).some((file) => file !== undefined);
  const places: readonly (readonly [string, IpPort])[] = [
    ['listen.outbound', listen.outbound],
    ...(isOpened ? [['operator.listen', operator.listen] as const] : []),
  ];
  return places.filter(([, { address }]) => !isLoopbackAddress(address));
}

function listInbound(inbound: InboundSettings): readonly string[] {
  return [
    ...inbound.accept.flatMap((entry, index) => listSwitches(`inbound.accept[${index}]`, entry)),
    ...listSwitches('inbound', inbound),
  ];
}

/** By the names and values that say it: `unsafe_bearer: true`, `plaintext: unsafe`, `present: unsafe_original`. */
function listSwitches(path: string, table: object): readonly string[] {
  return Object.entries(table)
    .filter(
      ([key, value]) =>
        (key.startsWith('unsafe_') && (value === true || value === 'off')) ||
        (key === 'plaintext' && value === 'unsafe') ||
        (key === 'present' && value === 'unsafe_original'),
    )
    .map(([key]) => `${path}.${key}`);
}
