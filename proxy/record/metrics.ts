import { Registry } from 'prom-client';
import type { RevocationCause, RevocationOutcome } from '../exchange/exchange-trail.ts';
import { kindOf, refusalCodes, type Way } from '../refusal.ts';
import { waysOf, type RefusalCode } from '../refusal-kinds.ts';
import type { CallEnd } from './call-events.ts';
import { FleetMetrics, fleetMetricNames } from './fleet-metrics.ts';
import { signalOutcomes } from './signal-events.ts';
import { declareGauges } from './gauges.ts';
import { gaugeOf, LaneHistogram, Tallies, type Lane, type Tally } from './tallies.ts';

/** Names of all metrics of this version; ARCHITECTURE lists them, and a test compares the two. */
export const metricNames = [
  'waybill_requests_total',
  'waybill_request_duration_seconds',
  'waybill_exchanges_total',
  'waybill_exchange_duration_seconds',
  'waybill_tokens_cut_total',
  'waybill_token_cache_total',
  'waybill_replays_blocked_total',
  'waybill_refusals_total',
  'waybill_decisions_total',
  'waybill_ledger_entries',
  'waybill_ledger_errors_total',
  'waybill_tasks_open',
  'waybill_tasks_total',
  'waybill_revocations_total',
  'waybill_signals_total',
  'waybill_signals_unmapped_total',
  'waybill_svid_not_before_timestamp_seconds',
  'waybill_svid_expiry_timestamp_seconds',
  'waybill_svid_rotations_total',
  'waybill_credential_expiry_timestamp_seconds',
  'waybill_tool_binding',
  'waybill_events_total',
  'waybill_event_sequence',
  'waybill_events_lost_total',
  'waybill_event_copies_lost_total',
  'waybill_record_reopens_total',
  'waybill_faults_total',
  'waybill_unsafe_settings',
  'waybill_config_reloads_total',
  'waybill_config_last_reload_successful',
  'waybill_start_time_seconds',
  'waybill_build_info',
  ...fleetMetricNames,
] as const;

/** What the series are made of: only names of the configuration, never anything that an agent sends (label flood). */
export interface MetricNames {
  readonly tools: readonly { readonly name: string; readonly binding: string }[];
  readonly services: readonly string[];
  /** Name of the program behind the way in, where there is one. */
  readonly program: string | undefined;
  readonly rules: readonly { readonly name: string; readonly effect: string; readonly mode: string }[];
  readonly unsafe: readonly string[];
}

/** Where the numbers come from that are kept elsewhere. */
export interface MetricSources {
  readonly version: string;
  readonly tasksOpen: () => number;
  /** Proofs that are remembered as spent. */
  readonly ledgerEntries: () => number;
  /** The life of our X.509-SVID; undefined while there is none. */
  svidLife(): { readonly startsAtMs: number; readonly expiresAtMs: number } | undefined;
  /** End of the credential that ends first, by tool. */
  credentialExpiries(): readonly { readonly tool: string; readonly expiresAtMs: number }[];
  events(): {
    readonly written: number;
    readonly sequence: number;
    readonly lost: number;
    /** Writes that the copy beside the record did not take. */
    readonly copiesLost: number;
  };
}

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const;
const outcomes = ['ok', 'upstream_error', 'aborted', 'cut', 'refused'] as const;

const unmapped = 'Security events that would revoke somebody, named in a way that is not mapped here.';
const taken = 'Whether the last change of the configuration was taken; 1 until there is one.';

const revocationCauses: readonly RevocationCause[] = [
  'completed',
  'failed',
  'expired',
  'revoked',
  'shutdown',
  'token_rejected',
  'unverified',
  'task_ended',
  'identity_lost',
  'reconfigured',
  'superseded',
  'refused_by_tool',
  'evicted',
];
const revocationOutcomes: readonly RevocationOutcome[] = ['revoked', 'failed', 'unsupported', 'expired', 'lost'];
const exchangeOutcomes: readonly string[] =
  'issued token_service_unavailable grant_dead exchange_refused token_rejected identity_unavailable fault'.split(' ');

type OutcomeTallies = Readonly<Record<(typeof outcomes)[number], Tally>>;

/** The metrics of one sidecar. Every label set of a counter exists at 0 from the start: `increase()` never sees one born at 1. */
export class Metrics {
  readonly registry = new Registry();
  readonly #requests = this.#tallies('requests_total', 'Calls by tool and how they ended.', ['way', 'tool', 'outcome']);
  readonly #requestsOf = { out: new Map<string, OutcomeTallies>(), in: new Map<string, OutcomeTallies>() };
  readonly #refusals = this.#tallies('refusals_total', 'Refused calls by stage and code.', ['way', 'stage', 'code']);
  readonly #replays = this.#tallies('replays_blocked_total', 'Uses outside their path that were blocked.', [
    'way',
    'reason',
    'grade',
  ]);
  readonly #decisions = this.#tallies('decisions_total', 'Decisions by the rule that made them.', [
    'decision',
    'rule',
    'mode',
  ]);
  readonly exchanges = this.#tallies('exchanges_total', 'Exchanges at token services.', ['service', 'outcome']);
  readonly tokensCut = this.#tallies('tokens_cut_total', 'Tokens that outlive their subject token.', ['service']);
  readonly cache = this.#tallies('token_cache_total', 'Look-ups in the token cache.', ['result']);
  readonly tasks = this.#tallies('tasks_total', 'Tasks by how they ended.', ['outcome']);
  readonly revocations = this.#tallies('revocations_total', 'Revocations at token services.', ['cause', 'outcome']);
  readonly signals = this.#tallies('signals_total', 'Security events by what came of them.', ['outcome']);
  readonly signalsUnmapped = this.#tallies('signals_unmapped_total', unmapped, []).of();
  readonly faults = this.#tallies('faults_total', 'Unexpected failures; each refused its call.', []).of();
  readonly ledgerErrors = this.#tallies('ledger_errors_total', 'Failures of the ledger of spent proofs.', []).of();
  readonly reloads = this.#tallies('config_reloads_total', 'Changes of the configuration.', ['outcome']);
  /** Whether the file of the configuration says what is in force, as far as it was looked at. */
  isConfigTaken = true;
  readonly recordReopens = this.#tallies('record_reopens_total', 'Turns to a new file of the record.', ['outcome']);
  readonly svidRotations = this.#tallies('svid_rotations_total', 'Rotations of the X.509-SVID.', []).of();
  readonly fleet = new FleetMetrics(this.registry);
  readonly exchangeSeconds = new Map<string, Lane>();
  readonly callSeconds: Readonly<Record<Way, { readonly total: Lane; readonly forward: Lane }>>;
  readonly #exchangeTimes: LaneHistogram<'service'>;
  #names: MetricNames;

  constructor(sources: MetricSources, names: MetricNames) {
    const { registry } = this;
    const stages = ['way', 'stage'] as const;
    const calls = new LaneHistogram(
      registry,
      'waybill_request_duration_seconds',
      'Time of calls by stage.',
      stages,
      seconds,
    );
    const lanes = (way: Way) => ({
      total: calls.lane({ way, stage: 'total' }),
      forward: calls.lane({ way, stage: 'forward' }),
    });
    this.callSeconds = { out: lanes('out'), in: lanes('in') };
    this.#exchangeTimes = new LaneHistogram(
      registry,
      'waybill_exchange_duration_seconds',
      'Time of exchanges.',
      ['service'],
      seconds,
    );
    this.#names = names;
    this.#declare();
    this.adopt(names);
    declareGauges(registry, sources, () => this.#names);
    const isTaken = (): number => (this.isConfigTaken ? 1 : 0);
    gaugeOf(registry, 'waybill_config_last_reload_successful', taken, isTaken);
  }

  /** Takes the names of another configuration. Series of names that are gone stay: their counts happened. */
  adopt(names: MetricNames): void {
    this.#names = names;
    for (const tool of [...names.tools.map(({ name }) => name), 'none']) this.requests('out', tool, 'ok');
    for (const tool of [names.program, 'none']) if (tool !== undefined) this.requests('in', tool, 'ok');
    for (const rule of names.rules) this.decision(rule.effect, rule.name, rule.mode);
    for (const service of names.services) {
      for (const outcome of exchangeOutcomes) this.exchanges.of(service, outcome);
      this.tokensCut.of(service);
      if (!this.exchangeSeconds.has(service)) this.exchangeSeconds.set(service, this.#exchangeTimes.lane({ service }));
    }
  }

  /** Every label set that can occur under any configuration, at 0. */
  #declare(): void {
    for (const code of refusalCodes) {
      const { stage, replay } = kindOf(code);
      for (const way of waysOf(code)) {
        this.#refusals.of(way, stage, code);
        if (replay !== undefined) this.#replays.of(way, code, replay);
      }
    }
    this.decision('deny', 'default', 'enforce');
    for (const result of ['hit', 'miss', 'refresh', 'stale', 'negative']) this.cache.of(result);
    for (const cause of revocationCauses) for (const outcome of revocationOutcomes) this.revocations.of(cause, outcome);
    for (const outcome of signalOutcomes) this.signals.of(outcome);
    for (const outcome of ['opened', 'completed', 'failed', 'expired', 'revoked']) this.tasks.of(outcome);
    for (const outcome of ['reloaded', 'rejected']) this.reloads.of(outcome);
    for (const outcome of ['reopened', 'failed']) this.recordReopens.of(outcome);
  }

  #tallies(name: string, help: string, labels: readonly string[]): Tallies {
    return new Tallies(this.registry, `waybill_${name}`, help, labels);
  }

  requests(way: Way, tool: string, outcome: CallEnd['outcome'] | 'refused'): Tally {
    const known = this.#requestsOf[way];
    let ofTool = known.get(tool);
    if (ofTool === undefined) {
      const of = (one: string): Tally => this.#requests.of(way, tool, one);
      ofTool = {
        ok: of('ok'),
        upstream_error: of('upstream_error'),
        aborted: of('aborted'),
        cut: of('cut'),
        refused: of('refused'),
      };
      known.set(tool, ofTool);
    }
    return ofTool[outcome];
  }

  decision(effect: string, rule: string, mode: string): Tally {
    return this.#decisions.of(effect, rule, mode);
  }

  /** A refusal is counted once: by its code, and where it is a replay also by its grade. */
  refused(way: Way, code: RefusalCode): void {
    const { stage, replay } = kindOf(code);
    this.#refusals.of(way, stage, code).value += 1;
    if (replay !== undefined) this.#replays.of(way, code, replay).value += 1;
  }
}
