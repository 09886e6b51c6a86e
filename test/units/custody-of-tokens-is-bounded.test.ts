import { expect, test } from 'vitest';
import { TokenCustody } from '../../proxy/exchange/custody.ts';
import type { EndpointReply } from '../../proxy/exchange/endpoint.ts';
import { credentialOf } from '../../proxy/exchange/exchange-trail.ts';
import { IssuedToken } from '../../proxy/exchange/issued-token.ts';
import { RecentRefusals } from '../../proxy/exchange/recent-refusals.ts';
import { RevocationQueue, type RevokingService } from '../../proxy/exchange/revocation.ts';
import { TokenCache } from '../../proxy/exchange/token-cache.ts';
import { makeTokenOrder } from '../../proxy/exchange/token-order.ts';
import { Refusal } from '../../proxy/refusal.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { eventually } from '../fakes/eventually.ts';
import { RecordingTrail, shiftedWorld } from '../fakes/token-desk.ts';

/** A service whose answers a test scripts, and which knows how many requests are at it at once. */
class ScriptedService implements RevokingService {
  readonly name = 'corp';
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
    await new Promise((done) => setTimeout(done, 2));
    this.atOnce--;
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

function queueOf(count: number, queue: RevocationQueue): boolean[] {
  return Array.from({ length: count }, (_, i) => {
    const token = new Secret(`token-${i}`);
    const credential = credentialOf({ service: 'corp', id: token.id, audience: [], scopes: [] });
    return queue.add({ service, token, credential, txn: 't', tool: 'c', cause: 'completed', validUntilMs: undefined });
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
