import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { serviceProfiles } from '../../config/service-profiles.ts';
import { EndpointFault } from '../../proxy/exchange/endpoint.ts';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { openTokenDesk } from '../../proxy/exchange/token-desk.ts';
import { makeTokenOrder, type TokenOrder } from '../../proxy/exchange/token-order.ts';
import { Secret } from '../../proxy/trust/secret.ts';
import { RecordingTrail, refusalOf, shiftedWorld } from '../fakes/token-desk.ts';
import { tries } from '../stage/tries.ts';

const [idp, other] = ['https://idp.example', 'https://other.example'];

/** A service that takes requests and says nothing. */
function settingsOf(issuer: string): ServiceSettings {
  return {
    issuer,
    client_auth: 'client_secret_post',
    client_id: 'bot',
    client_secret_file: '/etc/hostname',
    actor: 'none',
    bound_subject: 'accept',
    verify: 'response-only',
    expect: { ...serviceProfiles.rfc8693.expect, act: 'any' },
    dialect: serviceProfiles.rfc8693.dialect,
    max_lifetime: 3_600_000,
    timeout: 600,
    endpoints: { token: `${issuer}/token`, jwks: `${issuer}/jwks` },
  };
}

function orderOf(txn: string): TokenOrder {
  const tokenType = 'urn:ietf:params:oauth:token-type:access_token';
  const subject = { token: new Secret(`token-of-${txn}`), tokenType, iss: idp, sub: 'a', expiresAtMs: Infinity };
  return makeTokenOrder({
    txn,
    tool: 'crm',
    toolOrigin: 'https://crm.example',
    service: 'other',
    issuer: other,
    grant: 'identity_chaining',
    grantedBy: { service: 'idp', issuer: idp },
    subject,
    audience: [],
    useForMs: 300_000,
  });
}

test('while the service of the first leg is probed, no call waits for it', tries, async () => {
  const asked: string[] = [];
  const desk = openTokenDesk({
    services: new Map([
      ['idp', settingsOf(idp)],
      ['other', settingsOf(other)],
    ]),
    world: shiftedWorld(),
    call: async (url, { timeoutMs }) => {
      asked.push(url.host);
      await sleep(timeoutMs);
      throw new EndpointFault('timeout');
    },
    x509Svids: { certificate: () => undefined },
    clusterTokens: { readToken: () => Promise.reject(new Error('no cluster')) },
    onDeadGrant: () => undefined,
    onServiceError: () => undefined,
    jwtSvids: { fetchJwtSvid: () => Promise.reject(new Error('no identity')) },
    trail: new RecordingTrail(),
  });
  const take = (txn: string) => refusalOf(() => desk.take(orderOf(txn)));
  await Promise.all(['1', '2', '3', '4', '5'].map(take));
  // The first pause of the breaker is over by then: the next call is the probe.
  await sleep(1300);
  const startedMs = performance.now();
  expect((await take('probe')).code).toBe('token_service_unavailable');
  expect(performance.now() - startedMs).toBeLessThan(200);
  expect(asked).toEqual(Array.from({ length: 6 }, () => 'idp.example'));
  await desk.close(1);
});
