/**
 * `npm run loadtest`: CPU per request of Waybill beside baselines, interleaved in one run, way out and way in, and the ledger of spent
 * proofs. Writes report.md and report.json.
 * Flags: `--rounds 5 --seconds 2.5 --connections 64 --variants undici,waybill` (a choice of variants is printed, not written).
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine, findCores } from './cpu.ts';
import type { Measure, Order } from './generator.ts';
import type { LedgerReport } from './ledger.ts';
import type { ProbeOrder, VerificationCost } from './probe.ts';
import { PinnedProcess, stopAll } from './processes.ts';
import { renderMarkdown } from './report-page.ts';
import { cpuPerRequest, summarize, type Method, type ScenarioRounds, type VariantRounds } from './report.ts';
import { scenarios, type Scenario } from './scenarios.ts';
import type { UpstreamMessage } from './upstream.ts';
import { openVariants, variantNames, variantsOf, type Variant } from './variants.ts';

const here = import.meta.dirname;
const warmMs = 400;
/** Longer than a task of the way in lingers, so that as many end as are opened when the measurement begins. */
const lingeringWarmMs = 2500;
/** The first load of a variant: the engine compiles, pools fill, the token is fetched. */
const firstWarmMs = 10_000;
/** More than a sidecar can answer: proofs are made for as many, before each round. */
const proofsPerSecond = 12_000;
const ledgerEntries = 1_000_000;

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2.5' },
    connections: { type: 'string', default: '64' },
    variants: { type: 'string', default: variantNames.join(',') },
  },
});
const rounds = positive('rounds', flags.rounds);
const seconds = positive('seconds', flags.seconds);
const connections = positive('connections', flags.connections);
const chosen = flags.variants.split(',');

const cores = findCores();
const folder = mkdtempSync(join(tmpdir(), 'waybill-loadtest-'));
const problems: string[] = [];

/** One load on one variant, with every sign of trouble collected in `problems`. */
async function load(
  scenario: Scenario,
  variant: Variant,
  { upstream, generator }: { upstream: PinnedProcess; generator: PinnedProcess },
  timing: { warmMs: number; measureMs: number },
): Promise<Measure> {
  const before = await ask(upstream);
  const proofCount = connections + Math.ceil(((timing.warmMs + timing.measureMs) / 1000) * proofsPerSecond);
  const order: Order = {
    port: variant.port,
    request: scenario.request(variant.clientCredential),
    proofs: await variant.proofs?.(proofCount),
    connections,
    pid: variant.process.pid,
    ...timing,
  };
  const measure = await generator.ask<Measure>(order, timing.warmMs + timing.measureMs + 30_000);
  const after = await ask(upstream);
  if (measure.errors > 0) problems.push(`${variant.name}: ${measure.errors} errors, first: ${measure.firstError}`);
  if (measure.answers === 0) problems.push(`${variant.name}: no request was answered`);
  if (after.requests - before.requests < measure.answers) problems.push(`${variant.name}: answers without a request`);
  const complaint = variant.check(after.lastRequest);
  if (complaint !== undefined) problems.push(`${variant.name}: ${complaint}`);
  return measure;
}

async function runScenario(scenario: Scenario): Promise<ScenarioRounds> {
  const upstream = new PinnedProcess([join(here, 'upstream.ts'), scenario.name], cores?.load);
  const generator = new PinnedProcess([join(here, 'generator.ts')], cores?.load);
  const { port } = await upstream.ask<{ port: number }>();
  const variants = await openVariants(scenario, variantsOf(scenario, chosen), { upstreamPort: port, folder, cores });
  const probe = scenario.proved ? openProbe() : undefined;
  const results = variants.map((variant) => ({ variant, rounds: [] as Measure[] }));
  const verifications: number[] = [];
  for (const variant of variants)
    await load(scenario, variant, { upstream, generator }, { warmMs: firstWarmMs, measureMs: 50 });
  for (let round = 0; round < rounds && problems.length === 0; round += 1) {
    if (probe !== undefined) verifications.push((await probe.ask<VerificationCost>(es256)).us);
    // Every other round runs backwards, so that no variant always follows the same one.
    for (const result of round % 2 === 0 ? results : results.toReversed()) {
      const measure = await load(
        scenario,
        result.variant,
        { upstream, generator },
        { warmMs: scenario.proved ? lingeringWarmMs : warmMs, measureMs: seconds * 1000 },
      );
      result.rounds.push(measure);
      if (measure.requests === 0) problems.push(`${result.variant.name}: nothing was answered while it was measured`);
      const rps = Math.round((measure.requests / measure.wallMs) * 1000);
      console.log(
        `round ${round + 1} ${result.variant.name}: ${cpuPerRequest(measure).toFixed(1)} us, ${rps} requests/s`,
      );
    }
  }
  const measured = results.map((result): VariantRounds => ({ name: result.variant.name, rounds: result.rounds }));
  return { scenario, variants: measured, verifications };
}

/** Measures on the core of the variants, while none of them is under load. */
function openProbe(): PinnedProcess {
  return new PinnedProcess([join(here, 'probe.ts')], cores?.variant);
}

const es256: ProbeOrder = { ask: 'es256' };

function ask(upstream: PinnedProcess): Promise<Extract<UpstreamMessage, { requests: number }>> {
  return upstream.ask({});
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} must be a positive number`);
  return value;
}

function readVersions(): Record<string, string> {
  return {
    waybill: versionAt('.'),
    undici: versionAt('node_modules/undici'),
    'http-proxy': versionAt('node_modules/http-proxy-baseline'),
  };
}

function versionAt(path: string): string {
  const manifest = readFileSync(join(here, '..', path, 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

async function main(): Promise<void> {
  const results: ScenarioRounds[] = [];
  for (const scenario of scenarios) {
    if (variantsOf(scenario, chosen).length === 0) continue;
    results.push(await runScenario(scenario));
    // Sidecars end the tasks of their last round for seconds, on the core of what is measured next: the pauses of the ledger would be theirs.
    await stopAll();
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
  const isWhole = flags.variants === variantNames.join(',');
  const order: ProbeOrder = { ask: 'ledger', entries: ledgerEntries };
  const ledger = isWhole ? await openProbe().ask<LedgerReport>(order, 120_000) : undefined;
  const method: Method = { rounds, seconds, connections, pinned: cores !== undefined, versions: readVersions() };
  const report = summarize(describeMachine(), method, results, ledger);
  const page = renderMarkdown(report, new Map(scenarios.map((scenario) => [scenario.name, scenario])));
  console.log(`\n${page}`);
  if (!isWhole) return;
  writeFileSync(join(here, 'report.md'), page);
  writeFileSync(join(here, 'report.json'), `${JSON.stringify(report, undefined, 2)}\n`);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cleanUp().then(() => process.exit(1)));
}
try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await cleanUp();
}

async function cleanUp(): Promise<void> {
  await stopAll();
  rmSync(folder, { recursive: true, force: true });
}
