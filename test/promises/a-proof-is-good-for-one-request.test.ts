import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exchangeOn, type RawAnswer } from '../stage/raw-call.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { makeKey } from '../stage/signing-key.ts';
import type { Caller } from '../stage/caller.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;
let caller: Caller;

beforeAll(async () => {
  stage = await openWayIn();
  caller = await stage.caller();
});
afterAll(() => stage?.close());

const now = (): number => Math.floor(Date.now() / 1000);
const sha256 = (body: string, algorithm = 'sha256'): string => createHash(algorithm).update(body).digest('base64');
const digestHeader = (body: string) => [['Content-Digest', `sha-256=:${sha256(body)}:`]] as const;

/** A proof that its owner has used. */
async function useProof(use: { path: string; method?: string }): Promise<string> {
  const proof = caller.proofFor(use);
  expect((await caller.send({ ...use, proof })).status).toBe(200);
  return proof;
}

test('used proof, other path, other method, other token, wrong key: each is refused with its own reason', async () => {
  const thief = await stage.caller();
  const foreign = await makeKey();
  const elsewhere = await stage.service.subjectToken({ aud: 'http://other.localhost', cnf: { jkt: caller.key.jkt } });
  const second = await stage.service.subjectToken({ aud: stage.origin, cnf: { jkt: caller.key.jkt } });
  const here = { path: '/used', method: 'GET' };
  type Row = [what: string, code: string, again: (proof: string) => Promise<RawAnswer>];
  const rows: Row[] = [
    ['the same request again', 'proof_reused', (proof) => caller.send({ ...here, proof })],
    ['with another query', 'proof_reused', (proof) => caller.send({ path: '/used?x=1', proof })],
    ['at another path', 'proof_wrong_target', (proof) => caller.send({ path: '/other', proof })],
    ['by another method', 'proof_wrong_method', (proof) => caller.send({ ...here, method: 'DELETE', proof })],
    ['with another token of its key', 'proof_wrong_token', (proof) => caller.send({ ...here, token: second, proof })],
    ['a stranger’s key', 'token_foreign_presenter', () => caller.send({ ...here, key: foreign })],
    ['another’s token', 'token_foreign_presenter', (proof) => caller.send({ ...here, token: thief.token, proof })],
    ['a token for another resource', 'token_wrong_audience', () => caller.send({ ...here, token: elsewhere })],
    ['no proof', 'proof_missing', () => caller.send({ ...here, proof: null })],
    ['no token', 'token_missing', (proof) => caller.send({ ...here, token: null, proof })],
    ['nothing', 'token_missing', () => caller.send({ ...here, token: null, proof: null })],
    ['two proofs', 'proof_ambiguous', () => caller.send({ ...here, headers: [['DPoP', caller.proofFor(here)]] })],
    [
      'two proofs in one line',
      'proof_ambiguous',
      (proof) => caller.send({ ...here, proof: `${proof}, ${caller.proofFor(here)}` }),
    ],
    ['one proof twice', 'proof_ambiguous', (proof) => caller.send({ ...here, proof, headers: [['dpop', proof]] })],
  ];
  const attacks: Attack[] = [];
  for (const [what, code, again] of rows) {
    const proof = await useProof(here);
    attacks.push({ what, code, send: () => again(proof) });
  }
  await expectEachRefused(stage, attacks);
});

test('stale, from the future, without a nonce, with a wrong or a foreign nonce: each is refused with its own reason', async () => {
  const other = await openWayIn({ name: 'other' });
  try {
    const foreign = (await other.caller()).nonce;
    const send = (code: string, what: string, claims: Record<string, unknown>): Attack => ({
      what,
      code,
      send: () => caller.send({ claims }),
    });
    const { nonce = '' } = caller;
    await expectEachRefused(stage, [
      send('proof_expired', 'a minute and more old', { iat: now() - 75 }),
      send('proof_expired', 'of another year', { iat: 1_500_000_000 }),
      send('proof_expired', 'old, and without a nonce', { iat: now() - 75, nonce: undefined }),
      send('clock_skew', 'from the future', { iat: now() + 30 }),
      send('nonce_required', 'without a nonce', { nonce: undefined }),
      send('nonce_required', 'made up', { nonce: 'made-up' }),
      send('nonce_required', 'empty', { nonce: '' }),
      send('nonce_required', 'of another Waybill', { nonce: foreign }),
      send('nonce_required', 'one character changed', {
        nonce: `${nonce.slice(0, -1)}${nonce.endsWith('A') ? 'B' : 'A'}`,
      }),
      send('nonce_required', 'longer', { nonce: `${nonce}A` }),
      send('nonce_required', 'ten minutes old', {
        nonce: `${(Math.floor(Date.now() / 60_000) - 10).toString(36)}.${nonce.split('.')[1]}`,
      }),
      send('proof_invalid', 'no string', { nonce: 5 }),
    ]);
  } finally {
    await other.close();
  }
});

test('a spent proof is a replay, also when its nonce is not good any more', async () => {
  const proof = caller.proofFor({ path: '/spent' });
  await expectPasses(stage, 'the first use', () => caller.send({ path: '/spent', proof }));
  const { nonce } = caller;
  // What is spent is the key's id, so a proof that repeats it with an old nonce is known.
  const { jti } = JSON.parse(Buffer.from(proof.split('.')[1] ?? '', 'base64url').toString()) as { jti: string };
  await expectEachRefused(stage, [
    {
      what: 'an old nonce',
      code: 'proof_reused',
      send: () => caller.send({ path: '/spent', claims: { jti, nonce: 'old' } }),
    },
    { what: 'a new nonce', code: 'proof_reused', send: () => caller.send({ path: '/spent', claims: { jti, nonce } }) },
  ]);
  const other = await stage.caller();
  await expectPasses(stage, 'the same id by another key', () => other.send({ path: '/spent', claims: { jti } }));
});

describe('other body under a digest', () => {
  const body = '{"amount":1}';
  const other = '{"amount":9}';

  test('is refused, whatever else of the request is good, and spends nothing', async () => {
    const request = { method: 'POST', path: '/pay' };
    const proof = caller.proofFor(request);
    const sha512 = `sha-512=:${sha256(body, 'sha512')}:`;
    const attack = (what: string, headers: (readonly [string, string])[]): Attack => ({
      what,
      code: 'proof_wrong_body',
      send: () => caller.send({ ...request, proof, body: other, headers }),
    });
    await expectEachRefused(stage, [
      attack('sha-256', [...digestHeader(body)]),
      attack('sha-512', [['content-digest', sha512]]),
      attack('one of two is right', [['Content-Digest', `sha-256=:${sha256(other)}:, ${sha512}`]]),
      attack('the right one behind one that is not understood', [['Content-Digest', `md5=:AAAA:, ${sha512}`]]),
      attack('no bytes', [['Content-Digest', 'sha-256=::']]),
      { ...attack('no body at all', []), send: () => caller.send({ ...request, proof, headers: digestHeader(body) }) },
    ]);
    await expectPasses(stage, 'the body', () => caller.send({ ...request, proof, body, headers: digestHeader(body) }));
    expect(stage.program.seen.at(-1)?.body.toString()).toBe(body);
  });

  test('is found in a body that comes slowly and in pieces, and a body that is too large to be compared does not pass', async () => {
    const slowly = async (sent: string, pieces: readonly string[]): Promise<RawAnswer> => {
      const framing = [['Host', new URL(stage.origin).host] as const, ['Transfer-Encoding', 'chunked'] as const];
      const head = caller.bytes({ method: 'POST', path: '/slow', framing, headers: digestHeader(sent) });
      const socket = await caller.connect();
      const answer = exchangeOn(socket, head);
      for (const piece of [...pieces, '']) {
        await sleep(60);
        socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`);
      }
      return answer.finally(() => socket.destroy());
    };
    await expectEachRefused(stage, [
      { what: 'slow', code: 'proof_wrong_body', send: () => slowly(body, [other.slice(0, 5), other.slice(5)]) },
      {
        what: 'over a mebibyte',
        code: 'body_too_large',
        send: () => {
          const large = 'x'.repeat(1_048_577);
          return caller.send({ method: 'POST', path: '/slow', body: large, headers: digestHeader(large) });
        },
      },
    ]);
    await expectPasses(stage, 'slow', () => slowly(body, [body.slice(0, 5), body.slice(5)]));
    expect(stage.program.seen.at(-1)?.body.toString()).toBe(body);
    const large = 'x'.repeat(1_048_576);
    await expectPasses(stage, 'large', () =>
      caller.send({ method: 'POST', path: '/slow', body: large, headers: digestHeader(large) }),
    );
    expect(stage.program.seen.at(-1)?.body.length).toBe(large.length);
  });

  test('a digest that cannot be read is no digest that agrees', async () => {
    const request = { method: 'POST', path: '/pay', body };
    const attack = (what: string, ...values: string[]): Attack => ({
      what,
      code: 'message_malformed',
      send: () => caller.send({ ...request, headers: values.map((value) => ['Content-Digest', value] as const) }),
    });
    const good = `sha-256=:${sha256(body)}:`;
    await expectEachRefused(stage, [
      attack('in hex', 'sha-256=abcdef'),
      attack('without colons', `sha-256=${sha256(body)}`),
      attack('twice', good, good),
      attack('nothing between commas', `${good},,`),
      attack('empty', ''),
    ]);
  });
});

test('W6: what was refused spent nothing: the same proof is good for its own request afterwards', async () => {
  const entries = await stage.sidecar.metric('waybill_ledger_entries');
  const proof = caller.proofFor({ path: '/own' });
  const refused = [
    await caller.send({ path: '/not-mine', proof }),
    await caller.send({ path: '/own', method: 'PUT', proof }),
    await caller.send({ path: '/own', token: `${caller.token}A`, proof }),
  ];
  expect(refused.map(({ status }) => status)).toEqual([401, 401, 401]);
  expect(await stage.sidecar.metric('waybill_ledger_entries')).toBe(entries);
  await expectPasses(stage, 'its own request', () => caller.send({ path: '/own', proof }));
  expect(await stage.sidecar.metric('waybill_ledger_entries')).toBe(entries + 1);
});
