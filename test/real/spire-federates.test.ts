import { afterAll, beforeAll, expect, test } from 'vitest';
import { readRecord } from '../stage/event-record.ts';
import { exchangeOn } from '../stage/raw-call.ts';
import { buildLimitMs } from '../stage/spire-programs.ts';
import { openSpire, type FetchedSvid, type SpireDomain } from '../stage/spire.ts';
import { connectTls } from '../stage/tls-caller.ts';
import {
  agentEntry,
  codeOf,
  domainName,
  fetcherSelectors,
  findSpire,
  openSpireStage,
  type SpireStage,
} from './spire-stage.ts';

const partnerName = 'partner.example';
const request = Buffer.from(`GET /orders HTTP/1.1\r\nHost: invoice-bot.example.org\r\n\r\n`);

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
  [domain, partner] = await Promise.all([openSpire(programs, domainName), openSpire(programs, partnerName)]);
  entry = await domain.createEntry(agentEntry());
  await domain.createEntry({ path: '/planner', selectors: fetcherSelectors(domain) });
  partnerEntry = await partner.createEntry({ path: '/buyer', selectors: fetcherSelectors(partner) });
  stage = await openSpireStage(domain, {
    domains: [partnerName],
    callers: [`spiffe://${domainName}/planner`, `spiffe://${partnerName}/buyer`],
  });
}, buildLimitMs);
afterAll(async () => {
  await stage?.close();
  await partner?.close();
  await domain?.close();
});

/** What a workload with this SVID gets: status, or code of the refusal. */
async function knock(svid: FetchedSvid): Promise<number | string> {
  const socket = await connectTls(stage.sidecar.addresses.inbound ?? '', svid);
  try {
    return codeOf(await exchangeOn(socket, request));
  } finally {
    socket.destroy();
  }
}

const lastCaller = (): unknown =>
  readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.admitted')?.['caller'];

test('a peer of a trust domain that SPIRE does not federate with is refused, whatever the configuration says', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await expect.poll(stage.call, { timeout: 20_000 }).toBe(200);
  expect(await knock(await domain.fetch())).toBe(200);
  const buyer = await partner.fetch();
  expect(await knock(buyer)).toBe('caller_not_allowed');
  expect(stage.program.seen.length).toBe(1);
});

test('federated, it is let in as who it is; a workload of its domain that is not listed is not', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const buyer = await partner.fetch();
  await domain.federateWith(partner);
  await domain.updateEntry(entry, agentEntry({ federatesWith: [partnerName] }));
  await expect.poll(() => knock(buyer), { timeout: 10_000 }).toBe(200);
  expect(lastCaller()).toBe(`spiffe://${partnerName}/buyer`);
  expect(await knock(await domain.fetch())).toBe(200);
  await partner.updateEntry(partnerEntry, { path: '/visitor', selectors: fetcherSelectors(partner) });
  await expect.poll(async () => knock(await partner.fetch()), { timeout: 10_000 }).toBe('caller_not_allowed');
  expect(await knock(buyer)).toBe(200);
});

test('the federation ends, and with it what it let in, on open connections too', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await partner.updateEntry(partnerEntry, { path: '/buyer', selectors: fetcherSelectors(partner) });
  let buyer = await partner.fetch();
  await expect.poll(async () => knock((buyer = await partner.fetch())), { timeout: 10_000 }).toBe(200);
  const socket = await connectTls(stage.sidecar.addresses.inbound ?? '', buyer);
  expect(codeOf(await exchangeOn(socket, request))).toBe(200);
  await domain.partWith(partner);
  await expect.poll(() => knock(buyer), { timeout: 10_000 }).toBe('caller_not_allowed');
  expect(codeOf(await exchangeOn(socket, request))).toBe('caller_not_allowed');
  socket.destroy();
  expect(await knock(await domain.fetch())).toBe(200);
  expect(await stage.call()).toBe(200);
});
