import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { openTunnel } from '../stage/raw-call.ts';
import { openInProcess } from '../stage/sidecar-in-process.ts';

test('a host that was called while the clock was ahead gets a certificate that is good now', async () => {
  let aheadMs = 0;
  const inside = await openInProcess(
    { tools: { crm: { match: { host: 'crm.test' }, dial: '127.0.0.1:9' } } },
    { now: () => Date.now() + aheadMs },
  );
  const ca = readFileSync(join(dirname(inside.eventsFile), 'trust', 'ca.pem'), 'utf8');
  const handshake = async (): Promise<string> => {
    try {
      (await openTunnel(inside.outbound, 'crm.test:443', { tls: { ca, serverName: 'crm.test' } })).destroy();
      return 'good';
    } catch (error) {
      return String((error as { code?: unknown }).code);
    }
  };
  try {
    aheadMs = 3600_000;
    expect(await handshake()).toBe('CERT_NOT_YET_VALID');
    aheadMs = 0;
    expect(await handshake()).toBe('good');
  } finally {
    await inside.close();
  }
});
