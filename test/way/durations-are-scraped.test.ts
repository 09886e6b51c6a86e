import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { LaneHistogram } from '../../proxy/record/tallies.ts';

test('a histogram of ours is in what Prometheus scrapes, bucket by bucket', async () => {
  const registry = new Registry();
  const histogram = new LaneHistogram(registry, 'waybill_test_seconds', 'Test.', ['stage'], [0.1, 1]);
  const lane = histogram.lane({ stage: 'total' });
  for (const seconds of [0.05, 0.5, 5]) lane.observe(seconds);
  const lines = (await registry.metrics()).split('\n').filter((line) => line.startsWith('waybill_test_seconds'));
  expect(lines).toEqual([
    'waybill_test_seconds_bucket{stage="total",le="0.1"} 1',
    'waybill_test_seconds_bucket{stage="total",le="1"} 2',
    'waybill_test_seconds_bucket{stage="total",le="+Inf"} 3',
    'waybill_test_seconds_sum{stage="total"} 5.55',
    'waybill_test_seconds_count{stage="total"} 3',
  ]);
});
