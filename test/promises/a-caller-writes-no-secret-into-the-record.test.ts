import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Caller } from '../stage/caller.ts';
import { expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;
let caller: Caller;
let signature: string;

beforeAll(async () => {
  stage = await openWayIn({ inbound: { present: 'handle' } });
  caller = await stage.caller();
  signature = caller.token.slice(caller.token.lastIndexOf('.') + 1);
});
afterAll(() => stage?.close());

/** What of a text stands in the record, in parts of 16 characters. */
function recorded(text: string): string[] {
  const record = readFileSync(stage.sidecar.eventsFile, 'utf8');
  const parts = Array.from({ length: text.length - 15 }, (_none, at) => text.slice(at, at + 16));
  return parts.filter((part) => record.includes(part));
}

test('W8: parts of his own token, as the id of a proof or in a path, stand nowhere in the record', async () => {
  for (const jti of [signature, signature.slice(0, 16), `x${signature.slice(11, 27)}y`, signature.slice(-16)])
    await expectPasses(stage, jti, () => caller.send({ path: '/x', claims: { jti } }));
  for (const part of [signature, signature.slice(20, 40)])
    await expectPasses(stage, part, () => caller.send({ path: `/x/${part}` }));
  await expectEachRefused(stage, [
    { what: 'refused', code: 'proof_missing', send: () => caller.send({ path: `/y/${signature}`, proof: null }) },
    {
      what: 'again',
      code: 'proof_reused',
      send: () => caller.send({ path: '/x', claims: { jti: signature } }),
    },
  ]);
  expect(recorded(signature)).toEqual([]);
});

test('W8: nor does a handle, as the id of a proof', async () => {
  await expectPasses(stage, 'handle', () => caller.send({ path: '/x' }));
  const handle = String(stage.program.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
  await expectPasses(stage, 'jti', () => caller.send({ path: '/x', claims: { jti: handle } }));
  expect(recorded(handle)).toEqual([]);
});

test('an id that is none of these is recorded as it is', async () => {
  await expectPasses(stage, 'plain', () =>
    caller.send({ path: '/plain', claims: { jti: 'order-7-of-the-3rd-of-may' } }),
  );
  const admitted = stage.sidecar.events().findLast(({ event }) => event === 'call.admitted');
  expect(admitted).toMatchObject({ proof: { id: 'order-7-of-the-3rd-of-may' }, target: { path: '/plain' } });
});
