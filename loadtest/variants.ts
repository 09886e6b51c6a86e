import { join } from 'node:path';
import { PinnedProcess } from './processes.ts';
import { bearer } from './peers/baseline.ts';
import { openCaller, openWayIn, type Behind } from './peers/waybill-in.ts';
import { openWaybills, type Proof } from './peers/waybill.ts';
import type { ProofOrder } from './proofs.ts';
import type { Scenario } from './scenarios.ts';

/** One program under test, listening on loopback: as a forward proxy, or on the way in as the agent itself. */
export interface Variant {
  readonly name: string;
  readonly process: PinnedProcess;
  readonly port: number;
  /** What its clients send in `Authorization`, after the scheme. */
  readonly clientCredential: string;
  /** What the proofs of the next round have to say; undefined where requests carry none. */
  readonly proofs: ((count: number) => Promise<ProofOrder>) | undefined;
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
/** As long as a nonce of the way in; the baseline looks at none, but gets requests of the same size. */
const anyNonce = 't6wsp0.AAAAAAAAAAAAAAAAAAAAAA';

const wayOutNames: readonly string[] = [...Object.keys(baselines), ...Object.keys(waybills)];
const waysIn: Readonly<Record<string, Behind>> = {
  'waybill-in-tool': { program: 'tool', present: 'original' },
  'waybill-in-handle': { program: 'agent', present: 'handle' },
  'waybill-in': { program: 'agent', present: 'inert-jwt' },
};
const wayInNames: readonly string[] = ['undici-reverse', ...Object.keys(waysIn)];

/** All variants, in the order of the report. */
export const variantNames: readonly string[] = [...wayOutNames, ...wayInNames];

/** The variants of a scenario among those that are wanted. Throws for a name that no variant has. */
export function variantsOf(scenario: Scenario, wanted: readonly string[]): readonly string[] {
  const unknown = wanted.find((name) => !variantNames.includes(name));
  if (unknown !== undefined) throw new Error(`no variant ${unknown}; there are ${variantNames.join(', ')}`);
  return (scenario.proved ? wayInNames : wayOutNames).filter((name) => wanted.includes(name));
}

/** Starts the chosen variants; all of them live until the run ends, and only the one under load uses its core. */
export function openVariants(scenario: Scenario, names: readonly string[], place: Place): Promise<readonly Variant[]> {
  return scenario.proved ? openWaysIn(names, place) : openWaysOut(names, place);
}

async function openWaysOut(names: readonly string[], place: Place): Promise<readonly Variant[]> {
  const opened: Variant[] = [];
  for (const [name, script] of Object.entries(baselines)) {
    if (!names.includes(name)) continue;
    const clientCredential = 'a-token-that-the-baseline-replaces';
    opened.push({ ...(await openBaseline(name, script, place)), clientCredential, proofs: undefined });
  }
  const wanted = Object.entries(waybills).filter(([name]) => names.includes(name));
  if (wanted.length > 0) opened.push(...(await openWaybills(wanted, place)));
  return opened;
}

async function openWaysIn(names: readonly string[], place: Place): Promise<readonly Variant[]> {
  const caller = await openCaller(place);
  const opened: Variant[] = [];
  for (const name of names) {
    const behind = waysIn[name];
    if (behind !== undefined) opened.push(await openWayIn(name, behind, caller, place));
    else {
      const proofs = (count: number) => Promise.resolve({ ...caller.proofs(count, anyNonce), reusable: true });
      opened.push({ ...(await openBaseline(name, 'undici.ts', place)), clientCredential: caller.token, proofs });
    }
  }
  return opened;
}

async function openBaseline(name: string, script: string, { upstreamPort, cores }: Place) {
  const command = [join(import.meta.dirname, 'peers', script), String(upstreamPort)];
  const child = new PinnedProcess(command, cores?.variant);
  const { port } = await child.ask<{ port: number }>();
  return {
    name,
    process: child,
    port,
    check: (request: string) => (request.includes(`: ${bearer}`) ? undefined : 'Authorization was not rewritten'),
  };
}
