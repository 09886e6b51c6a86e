import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { openWorkloadApi } from '../../proxy/spiffe/workload-api.ts';
import { openSvidFiles } from '../../proxy/spiffe/svid-files.ts';
import { eventually } from '../fakes/eventually.ts';
import { issueTexts, writeInPlace } from '../fakes/svid-folder.ts';

const id = 'spiffe://example.org/invoice-bot';
test('files: a clock that was ahead for a moment and was set back takes no identity away', async () => {
  const authority = await openAuthority('example.org');
  const folder = mkdtempSync(join(tmpdir(), 'waybill-clock-'));
  const { certificate, key, bundle } = await issueTexts(authority, id, 3600);
  await writeInPlace(folder, { 'svid.pem': certificate, 'svid_key.pem': key, 'svid_bundle.pem': bundle });
  let aheadMs = 0;
  const svids = await openSvidFiles({ folder, now: () => Date.now() + aheadMs, onEvent: () => undefined });
  expect(svids.x509()).toBeDefined();
  aheadMs = 2 * 3600_000;
  await sleep(1500);
  expect(svids.x509()).toBeUndefined();
  aheadMs = 0;
  // Good for another hour, and nobody writes it anew.
  await eventually('the SVID again', () => svids.x509() !== undefined);
  svids.close();
});
test('files: an SVID that was written while the clock was ahead is in use when that is set back', async () => {
  const authority = await openAuthority('example.org');
  const folder = mkdtempSync(join(tmpdir(), 'waybill-clock-'));
  const { certificate, key, bundle } = await issueTexts(authority, id, 3600);
  await writeInPlace(folder, { 'svid.pem': certificate, 'svid_key.pem': key, 'svid_bundle.pem': bundle });
  let aheadMs = 2 * 3600_000;
  const svids = await openSvidFiles({ folder, now: () => Date.now() + aheadMs, onEvent: () => undefined });
  expect(svids.x509()).toBeUndefined();
  aheadMs = 0;
  await eventually('the SVID', () => svids.x509() !== undefined);
  expect(svids.x509Bundles().get('example.org')?.authorities).toHaveLength(1);
  svids.close();
});
test('Workload API: the same', async () => {
  const authority = await openAuthority('example.org');
  const socketPath = join(mkdtempSync(join(tmpdir(), 'waybill-clock-')), 'a.sock');
  const agent = await openWorkloadApiServer({
    socketPath,
    authority,
    spiffeId: id,
    x509TtlSeconds: 3600,
    jwtTtlSeconds: 1200,
  });
  let aheadMs = 0;
  const client = openWorkloadApi({
    address: `unix://${socketPath}`,
    now: () => Date.now() + aheadMs,
    onEvent: () => undefined,
  });
  await eventually('the SVID', () => client.x509() !== undefined);
  aheadMs = 2 * 3600_000;
  await sleep(1500);
  expect(client.x509()).toBeUndefined();
  aheadMs = 0;
  await eventually('the SVID again', () => client.x509() !== undefined);
  client.close();
  agent.close();
});
