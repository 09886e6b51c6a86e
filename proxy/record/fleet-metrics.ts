import type { Registry } from 'prom-client';
import { gaugesOf, Tallies } from './tallies.ts';

export const fleetMetricNames = ['waybill_fleet_fresh', 'waybill_fleet_revocations_total'] as const;

/** What is counted of the store that a fleet shares. */
export class FleetMetrics {
  readonly sent: { value: number };
  readonly taken: { value: number };
  /** Whether the store was heard of lately; undefined without a fleet. */
  isInTouch: () => boolean | undefined = () => undefined;

  constructor(registry: Registry) {
    const help = 'Revocations told to the store of the fleet (sent), and learnt from it (taken).';
    const revocations = new Tallies(registry, 'waybill_fleet_revocations_total', help, ['direction']);
    this.sent = revocations.of('sent');
    this.taken = revocations.of('taken');
    const what = 'Whether the store of the fleet was heard of within max_silence; absent without a fleet.';
    gaugesOf(registry, 'waybill_fleet_fresh', what, [], () => {
      const is = this.isInTouch();
      return is === undefined ? [] : [{ labels: {}, value: is ? 1 : 0 }];
    });
  }
}
