import type { Settings } from './settings.ts';

/** Every setting that lowers safety and is on, such as `tools.crm.unsafe_bearer`: printed at start and counted in a metric (W9). */
export function listUnsafe(settings: Settings): readonly string[] {
  return [...settings.tools.values()].flatMap((tool) => {
    const switches = Object.entries(tool).filter(
      ([key, value]) => (key.startsWith('unsafe_') && value === true) || (key === 'plaintext' && value === 'unsafe'),
    );
    return switches.map(([key]) => `tools.${tool.name}.${key}`);
  });
}
