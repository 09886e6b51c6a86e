import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { HeldSvids, type SvidEvent } from '../../proxy/spiffe/held-svids.ts';

const spiffeId = 'spiffe://example.org/agent';

test('a timer that comes early, and a clock that ticks just then, do not swallow the news', async () => {
  const authority = await openAuthority('example.org');
  const { chainDer, keyDer } = await authority.issueX509(spiffeId, 3600);
  const endMs = new X509Certificate(chainDer).validToDate.getTime();
  const events: SvidEvent[] = [];
  // Looked at when the SVID is taken, when the timer is set, and when it fires, a millisecond early; then the clock ticks.
  let looks = 0;
  const held = new HeldSvids(
    () => ((looks += 1) <= 3 ? endMs - 1 : endMs),
    (event) => events.push(event),
    undefined,
  );
  const bundle = authority.bundle().x509Der;
  const svid = { spiffe_id: spiffeId, x509_svid: chainDer, x509_svid_key: keyDer, bundle, hint: '' };
  held.take({ svids: [svid], crl: [], federated_bundles: [] });
  await sleep(50);
  expect(held.current()).toBeUndefined();
  const told = events.map((event) => (event.kind === 'svid.lost' ? event.cause : event.kind));
  expect(told).toEqual(['svid.rotated', 'expired']);
  held.close();
});
