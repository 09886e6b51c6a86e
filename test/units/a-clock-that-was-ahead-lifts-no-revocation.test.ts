import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openFakeStore } from '../fakes/store.ts';
import { openFakeTokenService } from '../fakes/token-service.ts';
import { eventually } from '../fakes/eventually.ts';
import { openInProcess } from '../stage/sidecar-in-process.ts';
import { callOperator, removeFolder } from '../stage/sidecar-process.ts';

test('a transaction stays revoked in the file, and in the store of a fleet, after the clock was ahead for a moment', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-ahead-'));
  const revocations = join(dir, 'revocations.json');
  const service = await openFakeTokenService({});
  const store = await openFakeStore();
  let aheadMs = 0;
  const inside = await openInProcess(
    {
      operator: { socket: join(dir, 'operator.sock'), revocations },
      trust: { issuers: [{ issuer: service.issuer, audience: 'invoice-bot' }] },
      tools: { crm: { match: { host: 'crm.test' } } },
      fleet: { store: `valkey://127.0.0.1:${store.port}` },
    },
    { now: () => Date.now() + aheadMs },
  );
  const revoke = async (what: Record<string, unknown>): Promise<void> => {
    const { status, body } = await callOperator(inside.sidecar.addresses.socket, 'POST', '/v1/revoke', {
      ...what,
      reason: 'test',
    });
    expect([status, body['fleet']]).toEqual([200, 'stored']);
  };
  const inFile = (): string => readFileSync(revocations, 'utf8');
  const inStore = (): string => [...store.sets.values()].flatMap((set) => [...set.keys()]).join(' ');
  try {
    await revoke({ task: 'a-hop-elsewhere' });
    aheadMs = 48 * 3600_000;
    await revoke({ task: 'another' });
    expect(inFile()).toContain('a-hop-elsewhere');
    expect(inStore()).toContain('a-hop-elsewhere');
    // And what another sidecar revokes meanwhile, by its own clock.
    store.sets.get('waybill:revoked:tasks')?.set('revoked-elsewhere', Date.now());
    await eventually('it is known here', () => inFile().includes('revoked-elsewhere'));
    aheadMs = 0;
    await revoke({ task: 'a-third' });
    expect(
      [inFile(), inStore()].map((all) => ['a-hop-elsewhere', 'revoked-elsewhere'].map((txn) => all.includes(txn))),
    ).toEqual([
      [true, true],
      [true, true],
    ]);
  } finally {
    await inside.close();
    await store.close();
    await service.close();
    removeFolder(dir);
  }
});
