import { afterAll, beforeAll, expect, test } from 'vitest';
import { readRecord } from '../stage/event-record.ts';
import { buildLimitMs } from '../stage/spire-programs.ts';
import { openSpire, type SpireDomain } from '../stage/spire.ts';
import { connectTls } from '../stage/tls-caller.ts';
import {
  agentEntry,
  knock,
  ask,
  domainName,
  fetcherSelectors,
  findSpire,
  openSpireStage,
  type SpireStage,
} from './spire-stage.ts';

const partnerName = 'partner.example';

let missing: string | undefined;
let domain: SpireDomain;
let partner: SpireDomain;
let stage: SpireStage;
let entry: string;
let partnerEntry: string;

beforeAll(async () => {
  const programs = await findSpire();
  if (typeof programs === 'string') {
    missing = programs;
    return;
  }
  domain = await openSpire(programs, domainName);
  partner = await openSpire(programs, partnerName);
  entry = await domain.createEntry(agentEntry());
  await domain.createEntry({ path: '/planner', selectors: fetcherSelectors(domain) });
  partnerEntry = await partner.createEntry({ path: '/buyer', selectors: fetcherSelectors(partner) });
  stage = await openSpireStage(domain, {
    domains: { [partnerName]: 'workload_api' },
    callers: [`spiffe://${domainName}/planner`, `spiffe://${partnerName}/buyer`],
  });
}, buildLimitMs);
afterAll(async () => {
  await stage?.close();
  await partner?.close();
  await domain?.close();
});

const lastCaller = (): unknown =>
  readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.admitted')?.['caller'];

test('a peer of a trust domain that SPIRE does not federate with is refused, whatever the configuration says', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await expect.poll(stage.call, { timeout: 20_000 }).toBe(200);
  expect(await knock(stage, await domain.fetch())).toBe(200);
  const buyer = await partner.fetch();
  expect(await knock(stage, buyer)).toBe('caller_not_allowed');
  expect(stage.program.seen.length).toBe(1);
});

test('federated, it is let in as who it is; a workload of its domain that is not listed is not', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const buyer = await partner.fetch();
  await domain.federateWith(partner);
  await domain.updateEntry(entry, agentEntry({ federatesWith: [partnerName] }));
  await expect.poll(() => knock(stage, buyer), { timeout: 10_000 }).toBe(200);
  expect(lastCaller()).toBe(`spiffe://${partnerName}/buyer`);
  expect(await knock(stage, await domain.fetch())).toBe(200);
  await partner.updateEntry(partnerEntry, { path: '/visitor', selectors: fetcherSelectors(partner) });
  await expect.poll(async () => knock(stage, await partner.fetch()), { timeout: 10_000 }).toBe('caller_not_allowed');
  expect(await knock(stage, buyer)).toBe(200);
});

test('the federation ends, and with it what it let in, on open connections too', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await partner.updateEntry(partnerEntry, { path: '/buyer', selectors: fetcherSelectors(partner) });
  let buyer = await partner.fetch();
  await expect.poll(async () => knock(stage, (buyer = await partner.fetch())), { timeout: 10_000 }).toBe(200);
  const socket = await connectTls(stage.sidecar.addresses.inbound ?? '', buyer);
  expect(await ask(socket)).toBe(200);
  await domain.partWith(partner);
  await expect.poll(() => knock(stage, buyer), { timeout: 10_000 }).toBe('caller_not_allowed');
  expect(await ask(socket)).toBe('caller_not_allowed');
  socket.destroy();
  expect(await knock(stage, await domain.fetch())).toBe(200);
  expect(await stage.call()).toBe(200);
});
