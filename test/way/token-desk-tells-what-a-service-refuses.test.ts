import { afterEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import type { Refusal } from '../../proxy/refusal.ts';
import { callEndpoint, openDesk, refusalOf } from '../fakes/token-desk.ts';
import { type FakeTokenService, type FakeTokenServiceOptions, openFakeTokenService } from '../fakes/token-service.ts';

const services: FakeTokenService[] = [];

async function start(options: FakeTokenServiceOptions = {}): Promise<FakeTokenService> {
  const service = await openFakeTokenService(options);
  services.push(service);
  return service;
}

afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.close()));
});

const told: readonly [error: string, words: string][] = [
  ['invalid_client', "does not accept this sidecar's client authentication"],
  ['unauthorized_client', 'does not let this client use this grant'],
  ['unsupported_grant_type', 'does not know this grant'],
  ['invalid_scope', 'does not grant the scopes that were asked for'],
  ['invalid_target', 'does not grant a token for the audience or resource that was asked for'],
  ['invalid_grant', 'says that the grant behind this task is no longer valid'],
  ['invalid_dpop_proof', "does not accept this sidecar's DPoP proof"],
];

test.for(told)('the code %s is told in words, recorded and logged', async ([error, words]) => {
  const service = await start();
  const { desk, serviceErrors, world, order } = await openDesk(service, {}, { call: answering(error) });
  Object.assign(world, { monotonic: () => performance.now() + world.aheadMs });
  const refusal = await refusalOf(async () => desk.take(await order()));
  expect([refusal.detail, refusal.serviceError]).toEqual([`The token service "corp" ${words} (${error}).`, error]);
  // Once a minute, whoever asks.
  await refusalOf(async () => desk.take(await order({ txn: 'txn-2' })));
  expect(serviceErrors).toEqual([`corp ${error}`]);
  world.aheadMs += 60_001;
  await refusalOf(async () => desk.take(await order({ txn: 'txn-3' })));
  expect(serviceErrors).toEqual([`corp ${error}`, `corp ${error}`]);
});

test.for(['access_denied', 'x_unheard_of', 'constructor', 'invalid_scope ', `invalid_client ${'x'.repeat(99)}`])(
  'a code that no standard defines for this, such as %s, is told nowhere',
  async (error) => {
    const service = await start();
    const { desk, serviceErrors, order } = await openDesk(service, {}, { call: answering(error) });
    const refusal = await refusalOf(async () => desk.take(await order()));
    const said = 'The token service "corp" does not grant this token.';
    expect([refusal.code, refusal.detail, refusal.serviceError]).toEqual(['exchange_refused', said, undefined]);
    expect(serviceErrors).toEqual([]);
  },
);

test.for(['Invalid token', 'Standard token exchange is not enabled for the requested client.', 'x', 5, null])(
  'invalid_request with the description %j is about the subject token, as the standard has it',
  async (description) => {
    const service = await start();
    const { desk, order } = await openDesk(service, {}, { call: answering('invalid_request', description) });
    const refusal = await refusalOf(async () => desk.take(await order()));
    expect([refusal.code, refusal.serviceError]).toEqual(['grant_dead', 'invalid_request']);
  },
);

test('who is not asked any more, since our authentication fails, is told why all the same, until it works', async () => {
  const service = await start({ lie: 'invalid_client' });
  const { desk, world, order } = await openDesk(service);
  Object.assign(world, { monotonic: () => performance.now() + world.aheadMs });
  const refusals: Refusal[] = [];
  for (let count = 0; count < 8; count += 1)
    refusals.push(await refusalOf(async () => desk.take(await order({ txn: `txn-${count}` }))));
  expect(service.counts.token).toBeLessThan(8);
  expect(refusals.map(({ serviceError }) => serviceError)).toEqual(refusals.map(() => 'invalid_client'));
  expect(refusals.at(-1)?.detail).toContain('client authentication (invalid_client)');
  service.lie = undefined;
  world.aheadMs += 20_000;
  // Nobody waits long for the probe, so the one who causes it may be refused.
  let count = 0;
  await eventually('a token is issued', async () => {
    const wanted = await order({ txn: `good-${(count += 1)}` });
    return (async () => desk.take(wanted))().then(
      () => true,
      () => false,
    );
  });
});

/** The endpoints of a service whose token endpoint answers with this code, and with a text that nobody is to read. */
function answering(error: string, description: unknown = 'a text of the service'): typeof callEndpoint {
  const body = JSON.stringify({ error, error_description: description });
  const answer = { status: 400, headers: { 'content-type': 'application/json' }, body };
  return async (url, init) => (init.method === 'POST' ? answer : callEndpoint(url, init));
}
