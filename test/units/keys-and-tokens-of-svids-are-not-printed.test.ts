import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { format, inspect } from 'node:util';
import { expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { openWorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';

/** Every way in which an object turns into text by accident. */
function print(value: object): string {
  const everything = inspect(value, { depth: 20, showHidden: true, getters: true, maxArrayLength: null });
  return [everything, JSON.stringify(value), format('%s %o %j', value, value, value)].join('\n');
}

test('neither the client nor an SVID nor an event shows a key or a token', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-svid-'));
  const server = await openWorkloadApiServer({
    socketPath: join(folder, 'agent.sock'),
    authority: await openAuthority('example.org'),
    spiffeId: 'spiffe://example.org/agent',
    x509TtlSeconds: 60,
    jwtTtlSeconds: 60,
  });
  const events: WorkloadApiEvent[] = [];
  const address = `unix://${server.socketPath}`;
  const client = openWorkloadApi({ address, now: Date.now, onEvent: (event) => events.push(event) });
  try {
    const jwtSvid = await client.fetchJwtSvid('https://sso.example.org');
    await eventually('the X509-SVID', () => client.x509() !== undefined);
    const x509 = client.x509()!;
    await server.removeEntries();
    await eventually('the loss', () => client.identity() === undefined);
    const printed = [client, jwtSvid, x509, ...x509.svids, ...events].map(print).join('\n');
    expect(printed).toContain('spiffe://example.org/agent');
    const { d = '' } = x509.default.privateKey().export({ format: 'jwk' });
    const secret = Buffer.from(d, 'base64url');
    const bytes = [...secret];
    const spellings = [
      jwtSvid.token().split('.')[2]!,
      d,
      secret.toString('base64'),
      secret.toString('hex'),
      bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(' '),
      bytes.join(','),
    ];
    for (const text of spellings) {
      expect(text.length).toBeGreaterThan(40);
      for (let start = 0; start + 16 <= text.length; start += 1) {
        expect(printed.includes(text.slice(start, start + 16)), `16 characters at ${start}`).toBe(false);
      }
    }
  } finally {
    client.close();
    server.close();
    await rm(folder, { recursive: true });
  }
});
