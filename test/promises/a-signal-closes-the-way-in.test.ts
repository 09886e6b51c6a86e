import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { caep, openTransmitter, push, signalAudience, type SignalTransmitter } from '../fakes/signal-transmitter.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';
import type { Caller } from '../stage/caller.ts';
import { answerEcho } from '../stage/echo-tool.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const type = `${caep}session-revoked`;
let service: FakeTokenService;
let transmitter: SignalTransmitter;
let stage: WayInStage;
let caller: Caller;
let waiting = 0;

beforeAll(async () => {
  service = await openFakeTokenService();
  transmitter = await openTransmitter();
  stage = await openWayIn({
    shares: service,
    inbound: (issuer) => ({ accept: [{ issuer, proof: 'dpop' }] }),
    // Nothing is answered at `/wait`.
    answer: (call, response) => (call.path === '/wait' ? (waiting += 1) : answerEcho(call, response)),
    sections: {
      signals: {
        listen: '127.0.0.1:0',
        transmitters: [
          { issuer: transmitter.issuer, audience: signalAudience, subjects: { issuers: [service.issuer] } },
        ],
      },
    },
  });
  caller = await stage.caller();
});
afterAll(async () => {
  await stage.close();
  await transmitter.close();
  await service.close();
});

const mint = (sub: string, jti: string) => stage.to.mint({ sub, jti, cnf: { jkt: caller.key.jkt } });
const send = async (token: string) => {
  const answer = await caller.send({ path: '/x', token });
  return answer.status === 200 ? 200 : answer.code;
};
const tell = async (subject: object): Promise<number> =>
  (await push(stage.sidecar.addresses.signals ?? '', transmitter.event(type, subject))).status;

test('W11: a request of a user that is under way is cut, and the user comes in with a new token only', async () => {
  const [alice, bob] = [await mint('alice', 'a1'), await mint('bob', 'b1')];
  expect([await send(alice), await send(bob)]).toEqual([200, 200]);
  const begun = caller.send({ path: '/wait', token: alice }).catch(() => undefined);
  await eventually('the program has it', () => waiting === 1);
  const startedAt = performance.now();
  expect(await tell({ format: 'iss_sub', iss: service.issuer, sub: 'alice' })).toBe(202);
  expect((await begun)?.status).not.toBe(200);
  expect(performance.now() - startedAt).toBeLessThan(2000);
  expect([await send(alice), await send(bob)]).toEqual(['token_invalid', 200]);
  await sleep(1100);
  expect(await send(await mint('alice', 'a2'))).toBe(200);
});

test('W11: a token that was named itself does not come in, and another one of its user does', async () => {
  const [named, other] = [await mint('carol', 'c1'), await mint('carol', 'c2')];
  expect([await send(named), await send(other)]).toEqual([200, 200]);
  expect(await tell({ format: 'jwt_id', iss: service.issuer, jti: 'c1' })).toBe(202);
  expect([await send(named), await send(other)]).toEqual(['token_invalid', 200]);
  // A name means something to its issuer only, and the same name of another one nothing.
  expect(await tell({ format: 'jwt_id', iss: 'https://other.example.org', jti: 'c2' })).toBe(400);
  expect(await send(other)).toBe(200);
});
