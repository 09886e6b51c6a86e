import { afterEach, expect, test } from 'vitest';
import { agentId, callEndpoint, openDesk, refusalOf } from '../fakes/token-desk.ts';
import type { Lie } from '../fakes/token-service-lies.ts';
import { type FakeTokenService, type FakeTokenServiceOptions, openFakeTokenService } from '../fakes/token-service.ts';
import { tries } from '../stage/tries.ts';

const services: FakeTokenService[] = [];

async function start(options: FakeTokenServiceOptions = {}): Promise<FakeTokenService> {
  const service = await openFakeTokenService(options);
  services.push(service);
  return service;
}

afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.close()));
});

const table: readonly [lie: Lie, code: string, status: number][] = [
  ['invalid_grant', 'grant_dead', 403],
  ['invalid_scope', 'exchange_refused', 403],
  ['invalid_target', 'exchange_refused', 403],
  ['unauthorized_client', 'exchange_refused', 403],
  ['access_denied', 'exchange_refused', 403],
  // RFC 8693 2.2.2: a subject token that is not good, for whatever reason.
  ['invalid_request', 'grant_dead', 403],
  ['exchange_off', 'exchange_refused', 403],
  ['audience_unavailable', 'exchange_refused', 403],
  ['unknown_error', 'exchange_refused', 403],
  ['forbidden_page', 'exchange_refused', 403],
  ['invalid_client', 'token_service_unavailable', 503],
  ['wrong_secret', 'token_service_unavailable', 503],
  ['rate_limited', 'token_service_unavailable', 503],
  ['unavailable', 'token_service_unavailable', 503],
  ['broken', 'token_service_unavailable', 503],
  ['reset', 'token_service_unavailable', 503],
];

test.for(table)('an answer of the kind %s is %s', async ([lie, code, status]) => {
  const service = await start({ lie });
  const { desk, trail, order } = await openDesk(service);
  const wanted = await order();
  const refusal = await refusalOf(() => desk.take(wanted));
  expect([refusal.code, refusal.kind.status, refusal.kind.stage]).toEqual([code, status, 'exchange']);
  expect(trail.exchanges).toEqual([`corp ${code}`]);
  // Public text: the name of the configuration, a code that a standard defines, and nothing else that the service wrote or that we sent.
  expect(refusal.detail).toMatch(/^The token service "corp" [a-z' ]+(?: \([a-z_]+\))?\.$/);
  expect(refusal.cause).toBeUndefined();
  // What may pass in a moment is tried once more.
  expect(service.counts.token).toBe(lie === 'unavailable' || lie === 'reset' ? 2 : 1);
});

test.for(['slow', 'trickle'] as const)('a service that is %s costs its time-out and no more', tries, async (lie) => {
  const service = await start({ lie });
  const { desk, order } = await openDesk(service, { timeout: 300 });
  const wanted = await order();
  const before = performance.now();
  const refusal = await refusalOf(() => desk.take(wanted));
  expect(refusal.code).toBe('token_service_unavailable');
  expect(performance.now() - before).toBeLessThan(600);
});

test('the time-out is one for all steps: slow discovery, keys and identity do not add up', tries, async () => {
  const service = await start({ delayMs: 150 });
  const call: typeof callEndpoint = async (url, init) => {
    await new Promise((done) => setTimeout(done, 150));
    return callEndpoint(url, init);
  };
  const { desk, order } = await openDesk(service, { timeout: 400 }, { call });
  const wanted = await order();
  const before = performance.now();
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
  expect(performance.now() - before).toBeLessThan(700);
});

test('a pause that the service asks for is kept, up to a minute, for every order', async () => {
  for (const [lie, seconds] of [
    ['rate_limited', 7],
    ['rate_limited_long', 60],
  ] as const) {
    const service = await start({ lie });
    const { desk, world, order } = await openDesk(service);
    // A pause is measured by the clock that nobody sets.
    Object.assign(world, { monotonic: () => performance.now() + world.aheadMs });
    const [one, other] = [await order(), await order({ txn: 'txn-2' })];
    expect((await refusalOf(() => desk.take(one))).retryAfter).toBe(seconds);
    expect((await refusalOf(() => desk.take(other))).retryAfter).toBe(seconds);
    expect(service.counts.token).toBe(1);
    service.lie = undefined;
    world.aheadMs += seconds * 1000 + 1;
    await desk.take(other);
  }
});

test('a refusal is repeated for a moment without asking: one second for what may pass, five for what will not', async () => {
  for (const [lie, seconds] of [
    ['broken', 1],
    ['invalid_grant', 5],
    ['other_sub', 5],
  ] as const) {
    const service = await start({ lie });
    const { desk, trail, world, order } = await openDesk(service);
    // Measured by the clock that nobody sets.
    Object.assign(world, { monotonic: () => performance.now() + world.aheadMs });
    const wanted = await order();
    const first = await refusalOf(() => desk.take(wanted));
    world.aheadMs += seconds * 1000 - 200;
    expect((await refusalOf(() => desk.take(wanted))).code).toBe(first.code);
    expect([service.counts.token, trail.results]).toEqual([1, ['miss', 'negative']]);
    // Only this order: another task asks.
    const other = await order({ txn: 'txn-2' });
    await refusalOf(() => desk.take(other));
    expect(service.counts.token).toBe(2);
    service.lie = undefined;
    world.aheadMs += 201;
    await desk.take(wanted);
  }
});

test('tokens of one tool that cannot be read stop no other tool, and answers that are none do', async () => {
  const service = await start({ lie: 'opaque' });
  const { desk, trail, order } = await openDesk(service);
  const failTimes = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) {
      const odd = await order({ txn: `${service.lie}-${i}`, tool: 'odd' });
      await refusalOf(() => desk.take(odd));
    }
  };
  await failTimes(6);
  expect(trail.rejectedTokens.map(({ cause }) => cause)).toEqual(Array.from({ length: 6 }, () => 'malformed'));
  service.lie = undefined;
  await desk.take(await order());
  service.lie = 'empty_body';
  await failTimes(5);
  service.lie = undefined;
  const next = await order({ txn: 'txn-2' });
  expect((await refusalOf(() => desk.take(next))).code).toBe('token_service_unavailable');
});

test('an expired subject token is refused before the service is asked', async () => {
  const service = await start();
  const { desk, world, order } = await openDesk(service);
  const wanted = await order();
  world.aheadMs = 600_001;
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('grant_dead');
  expect(service.counts).toMatchObject({ metadata: 0, token: 0 });
});

test('a subject token that names who may act for it is not exchanged by others', async () => {
  const service = await start();
  const { desk, order } = await openDesk(service);
  const foreign = await order({}, { may_act: { sub: 'spiffe://example.org/planner' } });
  expect((await refusalOf(() => desk.take(foreign))).code).toBe('exchange_refused');
  expect(service.counts.token).toBe(0);
  await desk.take(await order({ txn: 'txn-2' }, { may_act: [{ sub: 'x' }, { sub: agentId }] }));
  // The same where no actor token is sent, which is how a service was led around the claim.
  const silent = await openDesk(service, { actor: 'none', expect: { sub: 'same', act: 'any', typ: ['at+jwt'] } });
  const again = await silent.order({}, { may_act: { sub: 'spiffe://example.org/planner' } });
  expect((await refusalOf(() => silent.desk.take(again))).code).toBe('exchange_refused');
  expect(service.counts.token).toBe(1);
});

test('a subject token that is bound to a key is not exchanged where the service would not take it', async () => {
  const service = await start();
  const bound = { cnf: { jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' } };
  const strict = await openDesk(service, { bound_subject: 'refuse' });
  const wanted = await strict.order({}, bound);
  expect((await refusalOf(() => strict.desk.take(wanted))).code).toBe('exchange_refused');
  expect(service.counts.token).toBe(0);
  const open = await openDesk(service, { bound_subject: 'accept' });
  await open.desk.take(await open.order({}, bound));
});

test('without identity there is no exchange, and the service is not asked', async () => {
  const service = await start();
  const svids = { fetchJwtSvid: async () => Promise.reject(new Error('PermissionDenied: secret cause')) };
  const { desk, order } = await openDesk(service, {}, { svids });
  const wanted = await order();
  const refusal = await refusalOf(() => desk.take(wanted));
  expect([refusal.code, service.counts.token]).toEqual(['identity_unavailable', 0]);
  expect(refusal.detail).not.toContain('secret cause');
});

const misleading: readonly [what: string, change: (metadata: Record<string, unknown>) => Record<string, unknown>][] = [
  ['another issuer', (m) => ({ ...m, issuer: 'https://sso.example.org' })],
  ['its issuer in another spelling', (m) => ({ ...m, issuer: `${String(m['issuer'])}/` })],
  ['no issuer', ({ issuer: _gone, ...m }) => m],
  ['a token endpoint at another origin', (m) => ({ ...m, token_endpoint: 'https://collector.example.org/token' })],
  ['a token endpoint over plain http', (m) => ({ ...m, token_endpoint: 'http://sso.example.org/token' })],
  ['a token endpoint that is no URL', (m) => ({ ...m, token_endpoint: ['x'] })],
  ['keys at another origin', (m) => ({ ...m, jwks_uri: 'https://collector.example.org/jwks' })],
];

test.for(misleading)('W5: metadata that names %s send nothing of ours anywhere', async ([, metadata]) => {
  const service = await start({ metadata });
  const origins = new Set<string>();
  const call: typeof callEndpoint = (url, init) => {
    origins.add(url.origin);
    return callEndpoint(url, init);
  };
  const { desk, order } = await openDesk(service, {}, { call });
  const wanted = await order();
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
  expect([service.counts.token, [...origins]]).toEqual([0, [service.issuer]]);
});

test('W5: an endpoint off the issuer is used where the configuration lists it', async () => {
  const [service, elsewhere] = [
    await start({ metadata: (m) => ({ ...m, jwks_uri: 'https://cdn.example.org' }) }),
    await start(),
  ];
  const endpoints = { jwks: `${service.issuer}/jwks`, revocation: `${elsewhere.issuer}/revoke` };
  const { desk, order } = await openDesk(service, { endpoints });
  await desk.take(await order());
  desk.dropTask('txn-1', 'completed');
  await desk.close(2000);
  expect([elsewhere.revoked, service.revoked]).toEqual([service.issued, []]);
});

test('a discovery that failed is not repeated for a second, and the service recovers', async () => {
  let good = false;
  const service = await start({ metadata: (m) => (good ? m : {}) });
  const { desk, world, order } = await openDesk(service);
  for (const txn of ['a', 'b', 'c']) {
    const wanted = await order({ txn });
    expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
  }
  const asked = service.counts.metadata;
  good = true;
  world.aheadMs = 1001;
  await desk.take(await order({ txn: 'd' }));
  expect([asked, service.counts.metadata]).toEqual([2, 3]);
});

test('an order of another configuration is refused for now, and asks nobody', async () => {
  const service = await start();
  const { desk, order } = await openDesk(service);
  const stray = await order({ issuer: 'https://sso.example.org' });
  await expect((async () => desk.take(stray))()).rejects.toMatchObject({ code: 'token_service_unavailable' });
  expect(service.counts.token).toBe(0);
});
