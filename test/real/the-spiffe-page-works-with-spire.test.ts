import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectWorkloadApi } from '../../proxy/spiffe/client.ts';
import { runSpiffePage } from '../stage/spiffe-page.ts';
import { buildLimitMs } from '../stage/spire-programs.ts';
import { openSpire, type SpireDomain } from '../stage/spire.ts';
import { agentEntry, agentId, domainName, findSpire } from './spire-stage.ts';

let missing: string | undefined;
let domain: SpireDomain;

beforeAll(async () => {
  const programs = await findSpire();
  if (typeof programs === 'string') missing = programs;
  else {
    domain = await openSpire(programs, domainName);
    await domain.createEntry(agentEntry());
    await domain.createEntry(agentEntry({ path: '/second', hint: 'second' }));
  }
}, buildLimitMs);
afterAll(() => domain?.close());

test('of two identities the hint chooses, for certificates and tokens, and a hint that nobody has gives none', async (context) => {
  if (missing !== undefined) context.skip(missing);
  for (const [hint, wanted] of [
    ['main', agentId],
    ['second', `spiffe://${domainName}/second`],
  ] as const) {
    const api = await connectWorkloadApi({ address: domain.workloadApi, hint, timeoutMs: 20_000 });
    // Both are registered by now or soon; only the one of the hint may ever be seen.
    expect(api.identity()?.toString()).toBe(wanted);
    expect((await api.fetchJwtSvid('https://a.example.org')).spiffeId.toString()).toBe(wanted);
    api.close();
  }
  const none = connectWorkloadApi({ address: domain.workloadApi, hint: 'third', timeoutMs: 2000 });
  await expect(none).rejects.toMatchObject({ name: 'IdentityUnavailable', reason: 'denied' });
});

test('the lines of the page of waybill/spiffe do with SPIRE what they say', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const { said, code } = await runSpiffePage(domain.workloadApi);
  const [id = '', jwt, hello] = said.split('\n');
  const name = id.replace('I am ', '');
  expect([agentId, `spiffe://${domainName}/second`]).toContain(name);
  expect([jwt, hello, code]).toEqual([`a JWT-SVID of ${name}, until TIME`, `hello ${name}`, 0]);
});
