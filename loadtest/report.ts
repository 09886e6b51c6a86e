import { median } from './histogram.ts';
import type { Measure } from './generator.ts';
import type { Scenario } from './scenarios.ts';

/** Rounds of one variant, in the order in which they ran. */
export interface VariantRounds {
  readonly name: string;
  readonly rounds: readonly Measure[];
}

/**
 * Medians over the rounds of a variant. `core_share`: how much of its core it used, 0 to 1; well below 1 means that something else
 * ran there, or that it waited for load. `vs_undici`: its CPU divided by undici's in the same round, then the median.
 */
interface VariantFigures {
  readonly cpu_us: number;
  readonly rps: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly core_share: number;
  readonly vs_undici?: number;
}

/** The shape of `report.json`. */
export interface Report {
  readonly machine: string;
  readonly method: Method;
  readonly scenarios: readonly { readonly name: string; readonly variants: Readonly<Record<string, VariantFigures>> }[];
}

export interface Method {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  /** False where the machine has one core only: then the figures are no basis for a comparison. */
  readonly pinned: boolean;
  readonly versions: Readonly<Record<string, string>>;
}

const baseline = 'undici';
/** Below this share of its core a variant was not the bottleneck of its own measurement. */
const quietShare = 0.85;
const disturbed =
  '**Disturbed:** a variant did not get its whole core, so other programs ran beside it and emptied its caches. Measure again on a quiet machine.';

/** CPU of the process per answered request, microseconds. */
export function cpuPerRequest(measure: Measure): number {
  return measure.cpuNs / 1000 / measure.requests;
}

export function summarize(
  machine: string,
  method: Method,
  results: readonly { readonly scenario: Scenario; readonly variants: readonly VariantRounds[] }[],
): Report {
  const scenarios = results.map(({ scenario, variants }) => {
    const base = variants.find((variant) => variant.name === baseline)?.rounds;
    const figures = variants.map((variant) => [variant.name, summarizeVariant(variant.rounds, base)] as const);
    return { name: scenario.name, variants: Object.fromEntries(figures) };
  });
  return { machine, method, scenarios };
}

function summarizeVariant(rounds: readonly Measure[], base: readonly Measure[] | undefined): VariantFigures {
  const figures = {
    cpu_us: round(median(rounds.map(cpuPerRequest)), 1),
    rps: round(median(rounds.map((measure) => (measure.requests / measure.wallMs) * 1000)), 0),
    p50_ms: round(median(rounds.map((measure) => measure.p50Ms)), 2),
    p99_ms: round(median(rounds.map((measure) => measure.p99Ms)), 2),
    core_share: round(median(rounds.map((measure) => measure.cpuNs / 1e6 / measure.wallMs)), 2),
  };
  if (base === undefined) return figures;
  // Pair by pair: what slows the whole machine for a while slows both sides of a ratio.
  const ratios = rounds.map((measure, index) => {
    const same = base[index];
    return same === undefined ? Number.NaN : cpuPerRequest(measure) / cpuPerRequest(same);
  });
  return { ...figures, vs_undici: round(median(ratios), 2) };
}

/** The report as a page for people. */
export function renderMarkdown(report: Report, titles: ReadonlyMap<string, string>): string {
  const { method } = report;
  const pinning = method.pinned
    ? 'Each variant is a process of its own on one core; load generator and static upstream share the other.'
    : 'This machine has one core only: nothing is pinned, and the figures are no basis for a comparison.';
  const versions = Object.entries(method.versions).map(([name, version]) => `${name} ${version}`);
  const lines = [
    '# Load test',
    '',
    'Written by `npm run loadtest`; do not edit.',
    '',
    `Machine: ${report.machine}. Versions: ${versions.join(', ')}.`,
    '',
    `Method: ${method.rounds} rounds of ${method.seconds} s for each variant, interleaved in one run, ${method.connections} connections in a closed loop. ${pinning}`,
    'CPU is user and system time of the whole process per answered request, read from `/proc` at both ends of the measured time.',
    'Every figure is the median of the rounds; ratios are taken round by round and then the median. Compare ratios, not microseconds.',
  ];
  for (const scenario of report.scenarios) {
    lines.push(
      '',
      `## ${scenario.name}`,
      '',
      titles.get(scenario.name) ?? '',
      '',
      '| variant | CPU us/request | CPU vs undici | requests/s | p50 ms | p99 ms | share of its core |',
      '|---|---:|---:|---:|---:|---:|---:|',
    );
    for (const [name, figures] of Object.entries(scenario.variants)) {
      const ratio = figures.vs_undici?.toFixed(2) ?? '';
      lines.push(
        `| ${name} | ${figures.cpu_us.toFixed(1)} | ${ratio} | ${figures.rps} | ${figures.p50_ms.toFixed(2)} | ${figures.p99_ms.toFixed(2)} | ${(figures.core_share * 100).toFixed(0)} % |`,
      );
    }
    const shares = Object.values(scenario.variants).map((figures) => figures.core_share);
    if (Math.min(...shares) < quietShare) lines.push('', disturbed);
  }
  return `${lines.join('\n')}\n`;
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
