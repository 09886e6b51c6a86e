import { expect, test } from 'vitest';
import { expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

test('scopes reach a program that reads headers, whatever their service calls them', async () => {
  const stage = await openWayIn({ inbound: { present: 'headers' } });
  try {
    const tokens: [Record<string, unknown>, string | undefined][] = [
      [{ scope: 'a b' }, 'a b'],
      // Entra ID, and Okta.
      [{ scp: 'a b' }, 'a b'],
      [{ scp: ['a', 'b'] }, 'a b'],
      [{ scope: 'a', scp: 'b' }, 'a'],
      [{ scope: '', scp: 'b' }, undefined],
      [{ scp: 7 }, undefined],
      [{}, undefined],
    ];
    for (const [claims, shown] of tokens) {
      const caller = await stage.caller(claims);
      await expectPasses(stage, JSON.stringify(claims), () => caller.send());
      expect([claims, stage.program.seen.at(-1)?.headers['waybill-scope']]).toEqual([claims, shown]);
    }
  } finally {
    await stage.close();
  }
});
