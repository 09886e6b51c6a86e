import type { Registry } from 'prom-client';
import type { MetricNames, MetricSources } from './metrics.ts';
import { gaugeOf, gaugesOf, Tallies } from './tallies.ts';

/** Declares what is read when it is scraped: from where the numbers are kept, and from the configuration that is in force. */
export function declareGauges(registry: Registry, sources: MetricSources, names: () => MetricNames): void {
  gaugeOf(registry, 'waybill_ledger_entries', 'Proofs that are remembered as spent.', sources.ledgerEntries);
  gaugeOf(registry, 'waybill_tasks_open', 'Tasks that are open.', sources.tasksOpen);
  type Life = NonNullable<ReturnType<MetricSources['svidLife']>>;
  const svid = (name: string, what: string, read: (life: Life) => number): void =>
    gaugesOf(
      registry,
      `waybill_svid_${name}_timestamp_seconds`,
      `${what} of the X.509-SVID, seconds since the epoch.`,
      [],
      () => {
        const life = sources.svidLife();
        return life === undefined ? [] : [{ labels: {}, value: read(life) / 1000 }];
      },
    );
  svid('not_before', 'Begin', ({ startsAtMs }) => startsAtMs);
  svid('expiry', 'End', ({ expiresAtMs }) => expiresAtMs);
  gaugesOf(
    registry,
    'waybill_credential_expiry_timestamp_seconds',
    'End of the credential that ends first, by tool.',
    ['tool'],
    () =>
      sources.credentialExpiries().map(({ tool, expiresAtMs }) => ({ labels: { tool }, value: expiresAtMs / 1000 })),
  );
  gaugesOf(registry, 'waybill_tool_binding', 'Binding level of each tool.', ['tool', 'level'], () =>
    names().tools.map(({ name, binding }) => ({ labels: { tool: name, level: binding }, value: 1 })),
  );
  const events = (name: string, help: string, read: (counts: ReturnType<MetricSources['events']>) => number): void =>
    new Tallies(registry, `waybill_${name}`, help, []).readFrom(() => read(sources.events()));
  const lost = 'Events that could not be kept until the record took them; stays 0.';
  const copiesLost = 'Writes that the copy on standard output did not take.';
  events('events_total', 'Events written.', (counts) => counts.written);
  events('events_lost_total', lost, (counts) => counts.lost);
  events('event_copies_lost_total', copiesLost, (counts) => counts.copiesLost);
  gaugeOf(
    registry,
    'waybill_event_sequence',
    'Sequence number of the newest event: a witness against truncation.',
    () => sources.events().sequence,
  );
  gaugesOf(registry, 'waybill_unsafe_settings', 'Settings that lower safety and are on.', ['setting'], () =>
    names().unsafe.map((setting) => ({ labels: { setting }, value: 1 })),
  );
  const startedAt = performance.timeOrigin / 1000;
  gaugeOf(registry, 'waybill_start_time_seconds', 'Start of the process, seconds since the epoch.', () => startedAt);
  gaugesOf(registry, 'waybill_build_info', 'Version of the sidecar and of Node.js.', ['version', 'node'], () => [
    { labels: { version: sources.version, node: process.version }, value: 1 },
  ]);
}
