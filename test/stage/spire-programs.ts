import { join } from 'node:path';
import { buildGo } from './go-programs.ts';

/** Paths of SPIRE's two programs. */
export interface SpirePrograms {
  readonly server: string;
  readonly agent: string;
}

/** Cold, on two busy cores, it took 18 minutes. */
export const buildLimitMs = 45 * 60_000;

/** SPIRE's server and agent, built where that was not done yet; or why they cannot be had. */
export async function buildSpire(): Promise<SpirePrograms | string> {
  const built = await buildGo({
    name: 'SPIRE 1.15.3',
    module: 'spire',
    packages: ['github.com/spiffe/spire/cmd/spire-server', 'github.com/spiffe/spire/cmd/spire-agent'],
    cost: 'about 12 CPU minutes when nothing is cached',
    limitMs: buildLimitMs,
  });
  if ('missing' in built) return built.missing;
  return { server: join(built.folder, 'spire-server'), agent: join(built.folder, 'spire-agent') };
}
