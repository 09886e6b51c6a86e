import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Caller, CallerRequest } from '../stage/caller.ts';
import { dial, exchangeOn, type RawAnswer } from '../stage/raw-call.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

/** Sends a request whose last bytes come so much later. */
async function sendSlowly(stage: WayInStage, caller: Caller, request: CallerRequest, ms: number): Promise<RawAnswer> {
  const bytes = caller.bytes({ method: 'POST', path: '/slow', body: 'hello', ...request });
  const socket = dial(stage.to.address());
  socket.write(bytes.subarray(0, -2));
  await sleep(ms);
  try {
    return await exchangeOn(socket, bytes.subarray(-2));
  } finally {
    socket.destroy();
  }
}

test('W6: what is over when its body has come is refused as that, and is no lack of room', async () => {
  const stage = await openWayIn({
    inbound: { token: { once: true } },
    sections: { replay: { window: '5s', future: '1s' } },
  });
  try {
    // A token for one use must be younger than the ledger.
    await sleep(3200);
    const caller = await stage.caller();
    const now = (): number => Math.floor(Date.now() / 1000);
    await expectPasses(stage, 'slow, and in time', () => sendSlowly(stage, caller, {}, 500));
    const short = await stage.to.mint({ cnf: { jkt: caller.key.jkt }, exp: now() + 3 });
    const third = await stage.to.mint({ cnf: { jkt: caller.key.jkt } });
    await expectEachRefused(stage, [
      {
        what: 'the token has ended',
        code: 'token_invalid',
        send: () => sendSlowly(stage, caller, { token: short }, 3500),
      },
      {
        what: 'the proof is too old',
        code: 'proof_expired',
        send: () => sendSlowly(stage, caller, { token: third, claims: { iat: now() - 4 } }, 4500),
      },
    ]);
    expect(await stage.sidecar.metric('waybill_ledger_entries')).toBeLessThanOrEqual(3);
  } finally {
    await stage.close();
  }
});

test('W1: a token that ended while its body came opens no task', async () => {
  const stage = await openWayIn();
  try {
    const caller = await stage.caller();
    const exp = Math.floor(Date.now() / 1000) + 2;
    const token = await stage.to.mint({ cnf: { jkt: caller.key.jkt }, exp });
    await expectEachRefused(stage, [
      { what: 'the token has ended', code: 'token_invalid', send: () => sendSlowly(stage, caller, { token }, 3500) },
    ]);
  } finally {
    await stage.close();
  }
});
