import { expect, test } from 'vitest';
import { expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

/** Python, Java and Go read the first two exactly; JavaScript takes each for its neighbour. */
const numbers = ['9007199254740993', '1765432109876543211', '-0', '1.0', '1e400', '0.10000000000000000001'];

test('the program gets numbers as the issuer wrote them: one that is rounded names another tenant', async () => {
  const stage = await openWayIn();
  try {
    const tenant = { ids: numbers.map((text) => JSON.rawJSON(text)), name: '1.0' };
    const caller = await stage.caller({ tenant, level: 3 });
    for (const path of ['/first', '/kept']) {
      await expectPasses(stage, path, () => caller.send({ path }));
      const { headers } = stage.program.seen.at(-1)!;
      const [, payload = ''] = String(headers.authorization).split('.');
      const text = Buffer.from(payload, 'base64url').toString();
      expect(text).toContain(`"tenant":{"ids":[${numbers.join(',')}],"name":"1.0"},"level":3`);
    }
  } finally {
    await stage.close();
  }
});
