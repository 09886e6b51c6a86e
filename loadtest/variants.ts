import { join } from 'node:path';
import { PinnedProcess } from './processes.ts';
import { bearer } from './peers/baseline.ts';
import { openWaybills, type Proof } from './peers/waybill.ts';

/** One program under test, listening as a forward proxy on loopback. */
export interface Variant {
  readonly name: string;
  readonly process: PinnedProcess;
  readonly port: number;
  /** What its clients send as `Authorization: Bearer`. */
  readonly clientBearer: string;
  /** Looks at a request as the upstream got it; returns what is wrong with it. */
  readonly check: (request: string) => string | undefined;
}

/** Where variants run and what they forward to. */
export interface Place {
  readonly upstreamPort: number;
  /** A private folder that is gone after the run. */
  readonly folder: string;
  readonly cores: { readonly variant: number; readonly load: number } | undefined;
}

const baselines: Readonly<Record<string, string>> = { 'http-proxy': 'http-proxy.ts', undici: 'undici.ts' };
const waybills: Readonly<Record<string, Proof>> = { waybill: 'none', 'waybill-dpop': 'dpop' };

/** All variants, in the order of the report. */
export const variantNames: readonly string[] = [...Object.keys(baselines), ...Object.keys(waybills)];

/** Starts the chosen variants; all of them live until the run ends, and only the one under load uses its core. */
export async function openVariants(names: readonly string[], place: Place): Promise<readonly Variant[]> {
  const unknown = names.find((name) => !variantNames.includes(name));
  if (unknown !== undefined) throw new Error(`no variant ${unknown}; there are ${variantNames.join(', ')}`);
  const opened: Variant[] = [];
  for (const [name, script] of Object.entries(baselines)) {
    if (names.includes(name)) opened.push(await openBaseline(name, script, place));
  }
  const wanted = Object.entries(waybills).filter(([name]) => names.includes(name));
  if (wanted.length > 0) opened.push(...(await openWaybills(wanted, place)));
  return opened;
}

async function openBaseline(name: string, script: string, { upstreamPort, cores }: Place): Promise<Variant> {
  const command = [join(import.meta.dirname, 'peers', script), String(upstreamPort)];
  const child = new PinnedProcess(command, cores?.variant);
  const { port } = await child.ask<{ port: number }>();
  return {
    name,
    process: child,
    port,
    clientBearer: 'a-token-that-the-baseline-replaces',
    check: (request) => (request.includes(`: ${bearer}`) ? undefined : 'Authorization was not rewritten'),
  };
}
