import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openDesk, refusalOf } from '../fakes/token-desk.ts';
import { openFakeTokenService } from '../fakes/token-service.ts';

test('a refusal of one second is not repeated for the hour that the clock was set back', async () => {
  const service = await openFakeTokenService();
  try {
    const { desk, world, order } = await openDesk(service);
    const wanted = await order();
    await service.close();
    expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
    await service.up();
    world.aheadMs = -3_600_000;
    await sleep(3000);
    const asked = service.counts.token;
    // By that clock the token that comes is of the future; that it was asked for is what counts.
    await refusalOf(() => desk.take(wanted));
    expect(service.counts.token).toBe(asked + 1);
  } finally {
    await service.close();
  }
}, 20_000);
