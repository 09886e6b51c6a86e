import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { reconfigure } from '../stage/config-edit.ts';
import { answerEcho } from '../stage/echo-tool.ts';
import { dial } from '../stage/raw-call.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const open = (stage: WayInStage): Promise<number | undefined> => stage.sidecar.metric('waybill_tasks_open');

/** A way in whose program holds the answers of `/hold` back. */
async function openHolding(tasks: Record<string, unknown>): Promise<{ stage: WayInStage; held: ServerResponse[] }> {
  const held: ServerResponse[] = [];
  const stage = await openWayIn({
    sections: { tasks },
    answer: (call, response) => {
      if (call.path === '/hold') held.push(response);
      else answerEcho(call, response);
    },
  });
  return { stage, held };
}

test('detached: requests that no program took leave no task behind, and lock nobody out', async () => {
  const stage = await openWayIn({ sections: { tasks: { mode: 'detached', max_open: 256 } } });
  try {
    const caller = await stage.caller();
    await stage.program.close();
    const codes = new Set<string | undefined>();
    // A caller may have 64 of 256.
    for (let count = 0; count < 80; count += 1) codes.add((await caller.send({ path: '/x' })).code);
    expect([[...codes], await open(stage)]).toEqual([['upstream_unreachable'], 0]);
    expect(stage.sidecar.events().findLast(({ event }) => event === 'task.ended')).toMatchObject({
      state: 'failed',
      cause: 'unanswered',
      by: 'request',
    });
  } finally {
    await stage.close();
  }
});

test('detached: what the program has goes on, also when the caller does not wait for the answer', async () => {
  const { stage, held } = await openHolding({ mode: 'detached' });
  try {
    const caller = await stage.caller();
    const socket = dial(stage.to.address());
    socket.write(caller.bytes({ path: '/hold' }));
    await eventually('the program has it', () => held.length === 1);
    socket.destroy();
    await eventually('the call has ended', () =>
      stage.sidecar.events().some(({ event, outcome }) => event === 'call.ended' && outcome === 'aborted'),
    );
    expect(await open(stage)).toBe(1);
  } finally {
    await stage.close();
  }
});

test.for([
  ['request', 'detached', 0],
  ['detached', 'request', 1],
] as const)('a request that began under %s and is answered under %s ends as it began', async ([from, to, left]) => {
  const { stage, held } = await openHolding({ mode: from, linger: '0s' });
  try {
    const caller = await stage.caller();
    const answered = caller.send({ path: '/hold' });
    await eventually('the program has it', () => held.length === 1);
    const told = await reconfigure(stage, ({ tasks }) => Object.assign(tasks ?? {}, { mode: to }));
    expect(told).toMatchObject({ event: 'config.reloaded' });
    held[0]!.end('done');
    expect((await answered).status).toBe(200);
    await eventually('the call has ended', () => stage.sidecar.events().some(({ event }) => event === 'call.ended'));
    expect(await open(stage)).toBe(left);
  } finally {
    await stage.close();
  }
});
