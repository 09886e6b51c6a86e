import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;

beforeAll(async () => {
  stage = await openWayIn();
});
afterAll(async () => {
  await stage?.close();
});

/** The last second that a date of JavaScript holds. */
const lastSecond = 8_640_000_000_000;
const ends = [lastSecond, lastSecond + 1, 1e15, Number.MAX_SAFE_INTEGER];

test.each(ends)(
  'W1, W7: a token that ends %d s after 1970 passes, once for each proof, and is recorded',
  async (exp) => {
    const caller = await stage.caller({ exp });
    const proof = caller.proofFor({ path: '/x' });
    await expectPasses(stage, 'first', () => caller.send({ path: '/x', proof }));
    await expectEachRefused(stage, [
      { what: 'again', code: 'proof_reused', send: () => caller.send({ path: '/x', proof }) },
      {
        what: 'elsewhere',
        code: 'proof_wrong_target',
        send: () => caller.send({ path: '/y', htu: `${stage.origin}/x` }),
      },
    ]);
    const admitted = stage.sidecar.events().findLast(({ event }) => event === 'call.admitted');
    expect(admitted).toMatchObject({ credential: { expires_at: '+275760-09-13T00:00:00.000Z' } });
    expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
  },
);
