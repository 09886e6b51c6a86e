import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import type { Hop } from '../fakes/delegation-hops.ts';
import type { Caller } from '../stage/caller.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { readRecord, type RecordedEvent } from '../stage/event-record.ts';
import type { RawAnswer } from '../stage/raw-call.ts';
import { eventsOfCalls } from '../stage/refused-calls.ts';
import { expectEachRefused } from '../stage/refused-way-in.ts';
import { findSecrets, secretsOfToken } from '../stage/secret-scan.ts';
import { makeKey } from '../stage/signing-key.ts';
import { certificateOf, tlsCaller } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const id = (name: string): string => `spiffe://example.org/${name}`;
let authority: Authority;
let stage: WayInStage;
let caller: Caller;
let hops: Hop[];

beforeAll(async () => {
  authority = await openDomain();
  stage = await openWayIn({ authority, inbound: { callers: [id('planner')] } });
  caller = await stage.caller({ sub: 'alice', act: { sub: id('planner') } });
  hops = await openHops(authority, 'front', 'planner');
});
afterAll(() => stage?.close());

/** Refused with this code; the event of it. */
async function eventOf(code: string, send: () => Promise<RawAnswer>, at = stage): Promise<RecordedEvent> {
  let answer: RawAnswer | undefined;
  await expectEachRefused(at, [{ what: code, code, send: async () => (answer = await send()) }]);
  const [events] = await eventsOfCalls(at.sidecar.eventsFile, [{ what: code, answer: answer! }]);
  return events![0]!;
}

/** What the event of a refusal says of a caller with this token. */
const alice = (token: string) => ({
  subject: { iss: stage.service.issuer, sub: 'alice' },
  credential: {
    service: stage.service.issuer,
    id: createHash('sha256').update(token).digest('hex').slice(0, 16),
    from: 'caller',
    expires_at: expect.stringMatching(/^\d{4}-.*Z$/),
  },
  target: { method: 'GET', scheme: 'http', host: 'agent.localhost', port: 80, path: '/x' },
});

const send = (request: Parameters<Caller['send']>[0] = {}) => caller.send({ path: '/x', ...request });
const errand = () => ({
  subject: { iss: stage.service.issuer, sub: 'alice' },
  resource: stage.origin,
  jkt: caller.key.jkt,
});

describe('of a caller whose token is good', () => {
  test('a proof that is not good is told with whose token it came, and names no proof', async () => {
    const old = Math.floor(Date.now() / 1000) - 75;
    const stranger = await makeKey();
    const second = await stage.to.mint({ cnf: { jkt: caller.key.jkt } });
    const rows: Record<string, () => Promise<RawAnswer>> = {
      proof_wrong_method: () => send({ htm: 'POST' }),
      proof_wrong_target: () => send({ htu: `${stage.origin}/y` }),
      proof_wrong_token: () => send({ proof: caller.proofFor({ path: '/x', token: second }) }),
      proof_expired: () => send({ claims: { iat: old } }),
      token_foreign_presenter: () => send({ key: stranger }),
    };
    for (const [code, attempt] of Object.entries(rows)) {
      const event = await eventOf(code, attempt);
      expect([code, event]).toMatchObject([code, alice(caller.token)]);
      expect([code, event['proof']]).toEqual([code, undefined]);
    }
  });

  test('a good proof is named with it, from its nonce on', async () => {
    const claims = { jti: 'used-before' };
    expect((await send({ claims })).status).toBe(200);
    const digest = `sha-256=:${createHash('sha256').update('other').digest('base64')}:`;
    const rows: Record<string, () => Promise<RawAnswer>> = {
      nonce_required: () => send({ claims: { jti: 'nonce_required', nonce: 'old' } }),
      proof_wrong_chain: () => send({ claims: { jti: 'proof_wrong_chain', wbd: 'A'.repeat(43) } }),
      proof_wrong_body: () => send({ claims: { jti: 'proof_wrong_body' }, headers: [['Content-Digest', digest]] }),
      proof_reused: () => send({ claims }),
    };
    for (const [code, attempt] of Object.entries(rows)) {
      const proof = { kind: 'dpop', id: code === 'proof_reused' ? 'used-before' : code };
      expect([code, await eventOf(code, attempt)]).toMatchObject([code, { ...alice(caller.token), proof }]);
    }
  });

  test('a chain that is not good is told with token and proof', async () => {
    const good = () => chainAlong(hops, errand());
    const rows: Record<string, () => string> = {
      chain_spliced: () => good().split(', ')[1] ?? '',
      chain_off_path: () => chainAlong(hops, { ...errand(), resource: 'http://other.localhost' }),
      chain_broken: () => good().slice(0, -4),
    };
    for (const [code, make] of Object.entries(rows)) {
      const event = await eventOf(code, () => send({ chain: make(), claims: { jti: code } }));
      expect([code, event]).toMatchObject([code, { ...alice(caller.token), proof: { kind: 'dpop', id: code } }]);
    }
  });

  test('a workload that is not listed is told by its name, with the user that it came for', async () => {
    const other = await stage.caller({ sub: 'alice', act: { sub: id('planner2') } });
    const event = await eventOf('caller_not_allowed', () => other.send({ path: '/x', claims: { jti: 'mine' } }));
    const proof = { kind: 'dpop', id: 'mine' };
    expect(event).toMatchObject({ ...alice(other.token), proof, caller: id('planner2') });
  });

  test('W8: the tokens themselves are in none of these events', () => {
    expect(readRecord(stage.sidecar.eventsFile).length).toBeGreaterThan(10);
    const bytes = Buffer.from(JSON.stringify(readRecord(stage.sidecar.eventsFile)));
    expect(findSecrets(secretsOfToken('the token', caller.token), [{ where: 'events', bytes }])).toEqual([]);
  });
});

test('of a token that was spent, whose it was', async () => {
  const sections = { replay: { future: '1s' } };
  const once = await openWayIn({ name: 'once', inbound: { token: { once: true } }, sections });
  try {
    await sleep(3200);
    const user = await once.caller({ sub: 'alice' });
    expect((await user.send()).status).toBe(200);
    const event = await eventOf('token_spent', () => user.send({ claims: { jti: 'second' } }), once);
    expect(event).toMatchObject({
      subject: { iss: once.service.issuer, sub: 'alice' },
      credential: { id: createHash('sha256').update(user.token).digest('hex').slice(0, 16) },
      proof: { kind: 'dpop', id: 'second' },
    });
  } finally {
    await once.close();
  }
});

test('of a workload without a token, its own name', async () => {
  const workloads = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: { accept: [{ trust_domain: 'example.org', proof: 'mtls' }], callers: [id('planner')] },
  });
  try {
    const worker = certificateOf(await authority.issueX509(id('worker'), 3600));
    const client = await tlsCaller(workloads, worker);
    const alone = { token: null, proof: null };
    const events = [
      await eventOf('caller_not_allowed', () => client.send(alone), workloads),
      await eventOf('chain_broken', () => client.send({ ...alone, chain: 'none' }), workloads),
    ];
    for (const event of events) {
      expect(event).toMatchObject({ subject: { iss: '', sub: id('worker') }, caller: id('worker') });
      expect(event).not.toHaveProperty('credential');
    }
  } finally {
    await workloads.close();
  }
});

describe('of what is refused before a token is looked at, or beside it', () => {
  test('where it was meant to go, and by which method, is told all the same', async () => {
    const delete_ = { path: '/x', method: 'DELETE' };
    const mismatch = await eventOf('authority_mismatch', () =>
      caller.send({ ...delete_, framing: [['Host', 'evil.org']] }),
    );
    const target = { method: 'DELETE', scheme: 'http', host: 'agent.localhost', port: 80 };
    expect(mismatch).toMatchObject({ target });
    for (const name of ['subject', 'credential', 'proof', 'caller']) expect(mismatch).not.toHaveProperty(name);
    const two = [['DPoP', caller.proofFor(delete_)]] as const;
    const ambiguous = await eventOf('proof_ambiguous', () => caller.send({ ...delete_, headers: two }));
    expect(ambiguous).toMatchObject({ target: { ...target, path: '/x' }, subject: { sub: 'alice' } });
  });

  test('two proofs are told after what is wrong with the token', async () => {
    const two = [['DPoP', caller.proofFor({ path: '/x' })]] as const;
    const bad = `${caller.token.slice(0, -8)}AAAAAAAA`;
    const elsewhere = await stage.service.subjectToken({ aud: 'http://other.localhost' });
    const event = await eventOf('token_invalid', () => send({ token: bad, headers: two }));
    for (const name of ['subject', 'credential', 'proof']) expect(event).not.toHaveProperty(name);
    await eventOf('token_wrong_audience', () => send({ token: elsewhere, headers: two }));
    await eventOf('token_missing', () => send({ token: null, headers: two }));
    await eventOf('proof_ambiguous', () => send({ headers: two }));
  });
});
