import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { serviceProfiles } from '../../config/service-profiles.ts';
import { type EndpointCall, EndpointFault } from '../../proxy/exchange/endpoint.ts';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { openTokenDesk, type TokenDesk } from '../../proxy/exchange/token-desk.ts';
import { makeTokenOrder } from '../../proxy/exchange/token-order.ts';
import { eventually } from '../fakes/eventually.ts';
import { callEndpoint, RecordingTrail, shiftedWorld } from '../fakes/token-desk.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

/** More than are asked for at a time. */
const sickTasks = Array.from({ length: 40 }, (_, i) => `txn-${i}`);

let [sick, well]: FakeTokenService[] = [];
let desk: TokenDesk;
/** From then on the sick service takes requests and gives no answer. */
let hangs = false;

const call: EndpointCall = async (url, init) => {
  if (!hangs || url.origin !== sick?.issuer) return callEndpoint(url, init);
  await sleep(init.timeoutMs);
  throw new EndpointFault('timeout');
};

function settingsOf(issuer: string): ServiceSettings {
  return {
    issuer,
    client_auth: 'client_secret_post',
    client_id: 'bot',
    client_secret_file: '/etc/hostname',
    actor: 'none',
    bound_subject: 'accept',
    verify: 'jwt',
    expect: { ...serviceProfiles.rfc8693.expect, act: 'none', typ: ['at+jwt'] },
    dialect: serviceProfiles.rfc8693.dialect,
    max_lifetime: 3_600_000,
    timeout: 2000,
  };
}

/** A desk with tokens of many tasks at the sick service, and of one at the well one. */
beforeEach(async () => {
  hangs = false;
  sick = await openFakeTokenService();
  well = await openFakeTokenService();
  const issuers = { sick: sick.issuer, well: well.issuer };
  desk = openTokenDesk({
    services: new Map(Object.entries(issuers).map(([name, issuer]) => [name, settingsOf(issuer)])),
    world: shiftedWorld(),
    call,
    trail: new RecordingTrail(),
    jwtSvids: { fetchJwtSvid: () => Promise.reject(new Error('no identity')) },
    x509Svids: { certificate: () => undefined },
    clusterTokens: { readToken: () => Promise.reject(new Error('no cluster')) },
    onServiceError: () => undefined,
    onDeadGrant: () => undefined,
  });
  const take = async (service: keyof typeof issuers, txn: string) => {
    const parts = {
      tool: service,
      toolOrigin: `https://${service}.example.org`,
      audience: ['crm'],
      scopes: ['crm.read'],
      useForMs: 300_000,
    };
    await desk.take(makeTokenOrder({ txn, service, issuer: issuers[service], grant: 'client_credentials', ...parts }));
  };
  for (const txn of sickTasks) await take('sick', txn);
  await take('well', 'txn-well');
  hangs = true;
});

afterEach(async () => {
  await sick?.close();
  await well?.close();
});

test('W1: the token of a service that is well is back at once, whatever waits for one that hangs', async () => {
  for (const txn of sickTasks) desk.dropTask(txn, 'revoked');
  desk.dropTask('txn-well', 'revoked');
  await eventually('it is back', () => well?.revoked.length === 1, 1500);
  hangs = false;
  await desk.close(10_000);
  expect(sick?.revoked).toHaveLength(sickTasks.length);
}, 20_000);

test('W1: a sidecar that ends gives it back too', async () => {
  await desk.close(1000);
  expect(well?.revoked).toHaveLength(1);
});
