import { statSync } from 'node:fs';
import type { Settings } from '../config/settings.ts';
import { secretFiles } from './exchange/issuers/brokered-secret.ts';
import type { OpenRecord } from './open-record.ts';
import type { InventorySources, SecretFacts } from './steward/inventory.ts';
import type { WayOut } from './way-out.ts';

/** What the inventory is taken from: the rooms themselves. */
export function openInventory(settings: Settings, wayOut: WayOut, record: OpenRecord): InventorySources {
  const { name, owner, purpose, environment } = settings.agent;
  return {
    agent: () => ({
      name,
      owner,
      purpose,
      environment,
      spiffeId: wayOut.workload.spiffeId(),
      svidExpiresAtMs: wayOut.workload.svidLife()?.expiresAtMs,
      svidRotatedAtMs: wayOut.svidRotatedAtMs(),
      svidRotations: record.metrics.svidRotations.value,
    }),
    tasks: () => wayOut.tasks.list().filter(({ state }) => state === 'open'),
    tokens: () => wayOut.desk.held(),
    secrets: () => findSecrets(wayOut),
    bindingOf: (wanted) => wayOut.tools.find((tool) => tool.name === wanted)?.binding ?? 'none',
  };
}

function findSecrets({ tools, purse }: WayOut): readonly SecretFacts[] {
  return tools.flatMap(({ name, settings: { secret } }) => {
    if (secret === undefined) return [];
    const files = secretFiles(name, secret);
    const times = files.flatMap((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? []);
    const lastRotatedAtMs = times.length === 0 ? undefined : Math.max(...times);
    return [{ tool: name, files, lastRotatedAtMs, ...purse.useOfSecret(name) }];
  });
}
