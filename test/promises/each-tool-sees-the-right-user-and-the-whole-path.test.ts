import { afterAll, beforeAll, expect, test } from 'vitest';
import { type AgentPath, openAgentPath } from '../stage/agent-path.ts';
import { callAsCrowd } from '../stage/path-crowd.ts';
import { refusalCounts } from '../stage/refused-way-in.ts';

let path: AgentPath;

beforeAll(async () => {
  path = await openAgentPath();
});
afterAll(() => path?.close());

test('W11: 50 users through planner and worker to two tools: 0 mix-ups in 2,000 calls, each tool’s record shows user and path', async () => {
  const started = performance.now();
  const report = await callAsCrowd(path, 50, 2000);
  console.log(`${Math.round(performance.now() - started)} ms`);
  expect(report).toEqual({ mixedUp: [], lost: [], recordedWrong: [], recorded: 2000 });
  for (const stage of [path.worker, ...Object.values(path.tools)]) {
    const counts = [...(await refusalCounts(stage.sidecar)).keys()];
    expect(counts.filter((key) => key !== 'refused nonce_required')).toEqual([]);
    expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
  }
}, 120_000);
