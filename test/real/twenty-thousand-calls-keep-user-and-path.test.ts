import { expect, test } from 'vitest';
import { openAgentPath } from '../stage/agent-path.ts';
import { callAsCrowd } from '../stage/path-crowd.ts';

test('W11: 50 users through planner and worker to two tools: 0 mix-ups in 20,000 calls, each tool’s record shows user and path', async () => {
  const path = await openAgentPath();
  try {
    expect(await callAsCrowd(path, 50, 20_000)).toEqual({ mixedUp: [], lost: [], recordedWrong: [], recorded: 20_000 });
  } finally {
    await path.close();
  }
}, 900_000);
