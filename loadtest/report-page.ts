import type { Report, ScenarioFigures } from './report.ts';
import type { Scenario } from './scenarios.ts';

/** Below this share of its core a variant was not the bottleneck of its own measurement. */
const quietShare = 0.85;
const disturbed =
  '**Disturbed:** a variant did not get its whole core, so other programs ran beside it and emptied its caches. Measure again on a quiet machine.';

/** How the way in is measured, and against what. */
const wayInMethod = [
  'Each request is verified, its proof is checked and claimed, and a task is opened for it (and ended 2 s after its answer: the ends of earlier requests are part of what is measured). The token is one that was verified before. Nonces are required; every proof is used once. What the program behind it gets differs: a tool the token as it came (`waybill-in-tool`: `program: tool`, `present: original`), an agent a handle (`waybill-in-handle`: `present: handle`) or an inert JWT with the claims of the caller and a handle inside, which takes an ES256 signature of ours for each task (`waybill-in`: `present: inert-jwt`, the default). Proofs are made before each round, with the nonce of that moment, so that the load generator signs nothing while it is measured. `undici-reverse` gets requests of the same size, looks at nothing and rewrites `Authorization`.',
  'Bar: the CPU of a way in with a cached token, the check of the proof and its claim, minus that of `undici-reverse`, is at most twice one ES256 verification (`node:crypto`, P-256), which is timed before each round in a process on the same core, by the same clock. What the signature of an inert JWT adds is the difference of the last two rows (decisions/0034).',
];

/** The report as a page for people. */
export function renderMarkdown(report: Report, scenarios: ReadonlyMap<string, Scenario>): string {
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
  for (const figures of report.scenarios) lines.push(...renderScenario(figures, scenarios.get(figures.name)));
  if (report.ledger !== undefined) lines.push(...renderLedger(report.ledger));
  return `${lines.join('\n')}\n`;
}

function renderScenario(scenario: ScenarioFigures, described: Scenario | undefined): readonly string[] {
  const lines = [
    '',
    `## ${scenario.name}`,
    '',
    described?.title ?? '',
    ...(described?.proved === true ? ['', ...wayInMethod] : []),
    '',
    `| variant | CPU us/request | CPU vs ${described?.baseline ?? 'undici'} | requests/s | p50 ms | p99 ms | share of its core |`,
    '|---|---:|---:|---:|---:|---:|---:|',
  ];
  for (const [name, figures] of Object.entries(scenario.variants)) {
    const ratio = figures.vs_undici?.toFixed(2) ?? '';
    lines.push(
      `| ${name} | ${figures.cpu_us.toFixed(1)} | ${ratio} | ${figures.rps} | ${figures.p50_ms.toFixed(2)} | ${figures.p99_ms.toFixed(2)} | ${(figures.core_share * 100).toFixed(0)} % |`,
    );
  }
  const { es256_verify_us: verification } = scenario;
  if (verification !== undefined) lines.push('', `One ES256 verification: ${verification.toFixed(1)} us.`);
  for (const [name, { extra_verifications: extra }] of Object.entries(scenario.variants))
    if (extra !== undefined)
      lines.push('', `\`${name}\` minus \`undici-reverse\`: ${extra.toFixed(2)} verifications (bar: at most 2).`);
  const shares = Object.values(scenario.variants).map((figures) => figures.core_share);
  if (Math.min(...shares) < quietShare) lines.push('', disturbed);
  return lines;
}

function renderLedger(ledger: NonNullable<Report['ledger']>): readonly string[] {
  const { longest_pause_ms: longest, idle_pause_ms: idle } = ledger;
  const { typical_pause_ms: typical, typical_idle_pause_ms: typicalIdle } = ledger;
  return [
    '',
    '## ledger',
    '',
    `The memory ledger of spent proofs, filled with ${ledger.entries} live ids and then as many more while the first expire; 16 claims in each turn of the loop. In turns with it, 20 rounds each and as long, a loop that makes the ids and claims nothing. It is the third such pass: the first says what the entries take, by collections of garbage that are pauses themselves, and the engine compiles for its core what the passes need. Bars: at most 48 bytes an entry, and a longest pause of at most 1 ms more than the idle loop's. The longest pause of a round is given as the median of the rounds, and as the longest of all of them.`,
    '',
    '| bytes/entry | claims/s | longest pause of a round ms | idle loop ms | longest pause of all rounds ms | idle loop ms |',
    '|---:|---:|---:|---:|---:|---:|',
    `| ${ledger.bytes_per_entry.toFixed(1)} | ${ledger.claims_per_s} | ${typical.toFixed(2)} | ${typicalIdle.toFixed(2)} | ${longest.toFixed(2)} | ${idle.toFixed(2)} |`,
  ];
}
