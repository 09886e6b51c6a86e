import { expect, test } from 'vitest';
import { TokenCustody } from '../../proxy/exchange/custody.ts';
import type { EndpointReply } from '../../proxy/exchange/endpoint.ts';
import { credentialOf } from '../../proxy/exchange/exchange-trail.ts';
import { IssuedToken } from '../../proxy/exchange/issued-token.ts';
import { RecentRefusals } from '../../proxy/exchange/recent-refusals.ts';
import { RevocationQueue } from '../../proxy/exchange/revocation.ts';
import type { RevokingService } from '../../proxy/exchange/revocation-line.ts';
import { TokenCache } from '../../proxy/exchange/token-cache.ts';
import { makeTokenOrder } from '../../proxy/exchange/token-order.ts';
import { Refusal } from '../../proxy/refusal.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { eventually } from '../fakes/eventually.ts';
import { RecordingTrail, shiftedWorld } from '../fakes/token-desk.ts';

/** A service whose answers a test scripts, and which knows how many requests are at it at once. */
class ScriptedService implements RevokingService {
  readonly name = 'corp';
  hangs = false;
  asked = 0;
  atOnce = 0;
  most = 0;
  answer: () => EndpointReply | undefined = () => ({ status: 200, headers: {}, body: '' });
  isRevocable(): boolean {
    return true;
  }
  async revoke(): Promise<EndpointReply | undefined> {
    this.asked++;
    this.most = Math.max(this.most, ++this.atOnce);
    await new Promise((done) => setTimeout(done, this.hangs ? 50 : 2));
    this.atOnce--;
    if (this.hangs) throw new Error('timeout');
    return this.answer();
  }
}

const service = new ScriptedService();

function entry(txn: string, tool = 'crm', expiresAtMs = 1000, validUntilMs?: number) {
  const token = new IssuedToken({
    text: `${txn}-${tool}-${expiresAtMs}`,
    service: 'corp',
    audience: [],
    scopes: [],
    tokenType: 'Bearer',
    expiresAtMs,
    validUntilMs,
    issuedAtMs: 0,
  });
  const parts = { toolOrigin: tool, service: 'corp', issuer: 'i', audience: [], useForMs: 1 };
  const order = makeTokenOrder({ txn, tool, grant: 'client_credentials', ...parts });
  return { order, token, service, refreshAtMs: Infinity };
}

test('a full cache gives up its oldest token, and hands it out to be revoked', () => {
  const cache = new TokenCache(2);
  const [a, b, c] = [entry('a'), entry('b'), entry('c')];
  expect(cache.put(a, 0).evicted).toEqual([]);
  cache.put(b, 0);
  expect(cache.put(c, 0).evicted).toEqual([a]);
  expect([cache.find(a.order.key), cache.find(c.order.key)]).toEqual([undefined, c]);
  expect(cache.takeTask('a')).toEqual([]);
});

test('no token leaves the cache unseen: replaced ones come out at their end or with their task', () => {
  const cache = new TokenCache(10);
  const [first, second, third] = [entry('a', 'crm', 1000), entry('a', 'crm', 2000), entry('a', 'crm', 3000)];
  const mail = entry('a', 'mail');
  cache.put(first, 0);
  cache.put(mail, 0);
  expect(cache.put(second, 500).ended).toEqual([]);
  expect(cache.put(third, 1500).ended).toEqual([first]);
  expect(cache.takeTask('a', 'crm')).toEqual([third, second]);
  expect(cache.takeTask('a')).toEqual([mail]);
  expect([cache.tasks().size, [...cache.entries()]]).toEqual([0, []]);
});

test('a replaced token goes back when its use is over, unless it has ended by itself', async () => {
  const trail = new RecordingTrail();
  const world = shiftedWorld();
  const now = world.now();
  const custody = new TokenCustody(world, trail, { certificate: () => undefined });
  const tokens = [
    entry('a', 'crm', now - 1, now - 1),
    entry('a', 'crm', now - 1, now + 60_000),
    entry('a', 'crm', now + 60_000),
  ];
  for (const { order, token } of tokens) custody.keep(order, token, service);
  await custody.drain(1000);
  expect(trail.revokedTokens.map(({ credential }) => credential.id)).toEqual([tokens[1]!.token.id]);
  expect(trail.revocations).toEqual(['superseded revoked']);
  expect(custody.held().map(({ token }) => token)).toEqual([tokens[2]!.token]);
  expect(custody.dropAll('shutdown')).toEqual({ dropped: 1, revocations_queued: 1 });
  await custody.drain(1000);
});

function queueOf(count: number, queue: RevocationQueue, to = service): boolean[] {
  return Array.from({ length: count }, (_, i) => {
    const token = new Secret(`token-${i}`);
    const credential = credentialOf({ service: 'corp', id: token.id, audience: [], scopes: [] });
    return queue.add({
      service: to,
      token,
      credential,
      txn: 't',
      tool: 'c',
      cause: 'completed',
      validUntilMs: undefined,
    });
  });
}

test('revocations run a few at a time, and a full queue says that it lost one', async () => {
  const trail = new RecordingTrail();
  const queue = new RevocationQueue(shiftedWorld(), trail);
  const taken = queueOf(10_001, queue);
  expect(taken.filter((added) => added)).toHaveLength(10_000);
  expect(trail.revocations).toEqual(['completed lost']);
  await queue.drain(20_000);
  expect(service.most).toBe(8);
  expect(trail.revokedTokens).toHaveLength(10_000);
});

test('a service that never takes a token is asked eight times', async () => {
  const trail = new RecordingTrail();
  const queue = new RevocationQueue(shiftedWorld(), trail);
  service.asked = 0;
  service.answer = () => ({ status: 503, headers: {}, body: '' });
  queueOf(1, queue);
  for (let attempt = 1; attempt <= 8; attempt++) {
    await eventually(`attempt ${attempt}`, () => service.asked === attempt && service.atOnce === 0);
    await new Promise((done) => setTimeout(done, 5));
    // Draining takes the waiting time away.
    void queue.drain(1);
  }
  await eventually('it gives up', () => trail.revocations.length === 1);
  expect([trail.revocations, service.asked]).toEqual([['completed failed'], 8]);
});

test('one that gives no answer is asked for one token at a time, after pauses, until it does', async () => {
  const trail = new RecordingTrail();
  const queue = new RevocationQueue(shiftedWorld(), trail);
  const sick = new ScriptedService();
  sick.hangs = true;
  queueOf(100, queue, sick);
  await new Promise((done) => setTimeout(done, 1500));
  expect([sick.asked, sick.most]).toEqual([9, 8]);
  sick.hangs = false;
  await queue.drain(5000);
  expect(trail.revokedTokens).toHaveLength(100);
});

test('a queue that is full of the tokens of one service takes those of another', async () => {
  const trail = new RecordingTrail();
  const queue = new RevocationQueue(shiftedWorld(), trail);
  const [sick, well] = [new ScriptedService(), new ScriptedService()];
  sick.hangs = true;
  queueOf(10_000, queue, sick);
  expect(queueOf(5, queue, well)).toEqual(Array.from({ length: 5 }, () => true));
  expect(trail.revocations).toEqual(Array.from({ length: 5 }, () => 'completed lost'));
  await eventually('all five are back', () => trail.revokedTokens.length === 5);
  sick.hangs = false;
  await queue.drain(20_000);
  expect(trail.revokedTokens).toHaveLength(10_000);
});

test('what waited for two minutes of silence is given up, and what came since is not', async () => {
  const trail = new RecordingTrail();
  let laterMs = 0;
  const queue = new RevocationQueue({ ...shiftedWorld(), monotonic: () => performance.now() + laterMs }, trail);
  const sick = new ScriptedService();
  sick.hangs = true;
  queueOf(20, queue, sick);
  await eventually('the first silence', () => sick.asked === 8 && sick.atOnce === 0);
  laterMs = 121_000;
  queueOf(3, queue, sick);
  void queue.drain(1);
  await eventually('they are given up', () => trail.revocations.length === 20);
  expect(new Set(trail.revocations)).toEqual(new Set(['completed failed']));
  sick.hangs = false;
  await queue.drain(5000);
  expect(trail.revokedTokens).toHaveLength(3);
});

test('the memory of refusals is bounded and ends', () => {
  const refusals = new RecentRefusals();
  const lasting = new Refusal('grant_dead');
  refusals.add('first', lasting, 0);
  for (let i = 0; i < 10_000; i++) refusals.add(`k${i}`, lasting, 0);
  expect([refusals.find('first', 1), refusals.find('k9999', 4999), refusals.find('k9999', 5000)]).toEqual([
    undefined,
    lasting,
    undefined,
  ]);
});
