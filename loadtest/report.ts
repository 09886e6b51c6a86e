import { median } from './histogram.ts';
import type { Measure } from './generator.ts';
import type { LedgerReport } from './ledger.ts';
import type { Scenario } from './scenarios.ts';

/** Rounds of one variant, in the order in which they ran. */
export interface VariantRounds {
  readonly name: string;
  readonly rounds: readonly Measure[];
}

/** All that was measured for a scenario. `verifications`: CPU of one ES256 verification before each round, microseconds. */
export interface ScenarioRounds {
  readonly scenario: Scenario;
  readonly variants: readonly VariantRounds[];
  readonly verifications: readonly number[];
}

/**
 * Medians over the rounds of a variant. `core_share`: how much of its core it used, 0 to 1; well below 1 means that something else
 * ran there, or that it waited for load. `vs_undici`: its CPU divided by that of the scenario's undici in the same round, then the
 * median; `extra_verifications`: the difference of the two in verifications of the same round.
 */
interface VariantFigures {
  readonly cpu_us: number;
  readonly rps: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly core_share: number;
  readonly vs_undici?: number;
  readonly extra_verifications?: number;
}

/** The shape of `report.json`. */
export interface Report {
  readonly machine: string;
  readonly method: Method;
  readonly scenarios: readonly ScenarioFigures[];
  readonly ledger?: LedgerFigures;
}

export interface ScenarioFigures {
  readonly name: string;
  readonly variants: Readonly<Record<string, VariantFigures>>;
  readonly es256_verify_us?: number;
}

interface LedgerFigures {
  readonly entries: number;
  readonly bytes_per_entry: number;
  readonly claims_per_s: number;
  readonly longest_pause_ms: number;
  readonly idle_pause_ms: number;
  /** Medians of the longest pauses of the rounds. */
  readonly typical_pause_ms: number;
  readonly typical_idle_pause_ms: number;
}

export interface Method {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  /** False where the machine has one core only: then the figures are no basis for a comparison. */
  readonly pinned: boolean;
  readonly versions: Readonly<Record<string, string>>;
}

/** CPU of the process per answered request, microseconds. */
export function cpuPerRequest(measure: Measure): number {
  return measure.cpuNs / 1000 / measure.requests;
}

export function summarize(
  machine: string,
  method: Method,
  results: readonly ScenarioRounds[],
  ledger?: LedgerReport,
): Report {
  const scenarios = results.map(({ scenario, variants, verifications }): ScenarioFigures => {
    const base = variants.find((variant) => variant.name === scenario.baseline)?.rounds;
    const figures = variants.map(({ name, rounds }) => [name, summarizeVariant(rounds, base, verifications)] as const);
    const cost = verifications.length === 0 ? {} : { es256_verify_us: round(median(verifications), 1) };
    return { name: scenario.name, variants: Object.fromEntries(figures), ...cost };
  });
  return { machine, method, scenarios, ...(ledger === undefined ? {} : { ledger: ledgerFigures(ledger) }) };
}

function summarizeVariant(
  rounds: readonly Measure[],
  base: readonly Measure[] | undefined,
  verifications: readonly number[],
): VariantFigures {
  const figures = {
    cpu_us: round(median(rounds.map(cpuPerRequest)), 1),
    rps: round(median(rounds.map((measure) => (measure.requests / measure.wallMs) * 1000)), 0),
    p50_ms: round(median(rounds.map((measure) => measure.p50Ms)), 2),
    p99_ms: round(median(rounds.map((measure) => measure.p99Ms)), 2),
    core_share: round(median(rounds.map((measure) => measure.cpuNs / 1e6 / measure.wallMs)), 2),
  };
  if (base === undefined) return figures;
  // Pair by pair: what slows the whole machine for a while slows both sides of a ratio.
  const pairs = rounds.map((measure, index) => {
    const same = base[index];
    const bare = same === undefined ? Number.NaN : cpuPerRequest(same);
    return { own: cpuPerRequest(measure), bare, verification: verifications[index] ?? Number.NaN };
  });
  const ratio = { vs_undici: round(median(pairs.map(({ own, bare }) => own / bare)), 2) };
  if (verifications.length === 0 || base === rounds) return { ...figures, ...ratio };
  const extra = median(pairs.map(({ own, bare, verification }) => (own - bare) / verification));
  return { ...figures, ...ratio, extra_verifications: round(extra, 2) };
}

function ledgerFigures(report: LedgerReport): LedgerFigures {
  return {
    entries: report.entries,
    bytes_per_entry: report.bytesPerEntry,
    claims_per_s: report.claimsPerSecond,
    longest_pause_ms: report.longestPauseMs,
    idle_pause_ms: report.idlePauseMs,
    typical_pause_ms: report.typicalPauseMs,
    typical_idle_pause_ms: report.typicalIdlePauseMs,
  };
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
