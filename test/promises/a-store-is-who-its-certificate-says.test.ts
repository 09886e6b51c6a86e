import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore } from '../fakes/store.ts';
import { openFleetStage } from '../stage/fleet.ts';
import { removeFolder } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';

test.for([
  ['of its own authority and name', 'localhost', true, true],
  ['of another authority', 'localhost', false, false],
  ['of another name', 'elsewhere.test', true, false],
] as const)('over TLS a store is believed with a certificate %s: %s', async ([, name, isTrusted, isBelieved]) => {
  const own = await makeToolCertificate(name);
  const { ca } = isTrusted ? own : await makeToolCertificate(name);
  const dir = mkdtempSync(join(tmpdir(), 'waybill-store-ca-'));
  writeFileSync(join(dir, 'ca.pem'), ca);
  const store = await openFakeStore(undefined, own);
  const fleet = await openFleetStage(1, {
    store: `valkeys://localhost:${store.port}`,
    tls: { ca: join(dir, 'ca.pem') },
  });
  try {
    const { sidecar } = fleet.replicas[0]!;
    if (isBelieved) await fleet.ready();
    else {
      await eventually('it says why', () => /does not answer/.test(sidecar.output()));
      expect(sidecar.output()).toMatch(/"code":"(?:UNABLE_TO|SELF_SIGNED|DEPTH_ZERO|CERT_|ERR_TLS_CERT_ALTNAME)/);
      expect((await fetch(`http://${sidecar.addresses.health}/readyz`)).status).toBe(503);
    }
  } finally {
    await fleet.close();
    await store.close();
    removeFolder(dir);
  }
});
