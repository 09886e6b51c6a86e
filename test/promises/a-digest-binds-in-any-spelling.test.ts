import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Caller } from '../stage/caller.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;
let caller: Caller;

beforeAll(async () => {
  stage = await openWayIn();
  caller = await stage.caller();
});
afterAll(() => stage?.close());

const body = '{"amount":1}';
const digestOf = (of: string): string => `sha-256=:${createHash('sha256').update(of).digest('base64')}:`;
const post = (...headers: (readonly [string, string])[]) =>
  caller.send({ method: 'POST', path: '/pay', body, headers });

test('W12: Connection cannot take the digest of a body away before it is compared, in any spelling', async () => {
  const named = [
    'content-digest',
    'Content-Digest',
    'close, content-digest',
    'content_digest',
    'keep-alive, CONTENT.DIGEST',
  ];
  const attacks = named.flatMap((value): Attack[] =>
    [digestOf(body), digestOf('other')].map((digest) => ({
      what: `${value}, ${digest}`,
      code: 'header_forbidden',
      send: () => post(['Connection', value], ['Content-Digest', digest]),
    })),
  );
  const alone = { what: 'no digest', code: 'header_forbidden', send: () => post(['Connection', 'content-digest']) };
  await expectEachRefused(stage, [...attacks, alone]);
});

test('W13: a digest is compared in any spelling that a program could read as one', async () => {
  const spellings = ['Content-Digest', 'content-digest', 'Content_Digest', 'CONTENT_DIGEST', 'content.digest'];
  await expectEachRefused(
    stage,
    spellings.map((name) => ({ what: name, code: 'proof_wrong_body', send: () => post([name, digestOf('other')]) })),
  );
  for (const name of spellings) await expectPasses(stage, name, () => post([name, digestOf(body)]));
  await expectEachRefused(stage, [
    {
      what: 'two, in two spellings',
      code: 'message_malformed',
      send: () => post(['Content-Digest', digestOf(body)], ['Content_Digest', digestOf('other')]),
    },
  ]);
});

test('a digest of an algorithm that nobody knows says nothing, whatever it is called', async () => {
  const faults = () => stage.sidecar.metric('waybill_faults_total');
  const before = await faults();
  for (const name of ['md7', 'constructor']) {
    await expectPasses(stage, name, () => post(['Content-Digest', `${name}=:AAAA:, ${digestOf(body)}`]));
    await expectEachRefused(stage, [
      {
        what: `${name} beside a wrong one`,
        code: 'proof_wrong_body',
        send: () => post(['Content-Digest', `${name}=:AAAA:, ${digestOf('other')}`]),
      },
    ]);
  }
  expect(await faults()).toBe(before);
});
