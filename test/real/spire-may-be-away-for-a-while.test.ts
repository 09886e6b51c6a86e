import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readRecord } from '../stage/event-record.ts';
import { buildLimitMs } from '../stage/spire-programs.ts';
import { openSpire, type SpireDomain } from '../stage/spire.ts';
import { connectTls } from '../stage/tls-caller.ts';
import {
  agentEntry,
  ask,
  domainName,
  fetcherSelectors,
  findSpire,
  openSpireStage,
  type SpireStage,
} from './spire-stage.ts';

let missing: string | undefined;
let domain: SpireDomain;
let stage: SpireStage;

beforeAll(async () => {
  const programs = await findSpire();
  if (typeof programs === 'string') {
    missing = programs;
    return;
  }
  domain = await openSpire(programs, domainName);
  // A JWT-SVID that would still be good for minutes must not stand in for the X.509-SVID.
  await domain.createEntry(agentEntry({ x509TtlSeconds: 16, jwtTtlSeconds: 300 }));
  await domain.createEntry({ path: '/planner', selectors: fetcherSelectors(domain) });
  stage = await openSpireStage(domain);
}, buildLimitMs);
afterAll(async () => {
  await stage?.close();
  await domain?.close();
});

const lost = (): unknown[] =>
  readRecord(stage.sidecar.eventsFile)
    .filter(({ event }) => event === 'svid.lost')
    .map(({ cause }) => cause);

test('the agent of SPIRE is killed: calls pass while the SVID lives, then none passes, then it recovers', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await expect.poll(stage.call, { timeout: 20_000 }).toBe(200);
  const planner = await domain.fetch();
  const { inbound = '' } = stage.sidecar.addresses;
  const first = await connectTls(inbound, planner);
  await domain.killAgent();
  const killedAtMs = performance.now();
  const endsAtSeconds = await stage.sidecar.metric('waybill_svid_expiry_timestamp_seconds');
  // While the SVID lives: both ways, on old connections and new ones.
  let passed = 0;
  while (Date.now() / 1000 < endsAtSeconds - 0.5) {
    const fresh = await connectTls(inbound, planner);
    const answers = [await stage.call(), await ask(first), await ask(fresh)];
    expect(answers).toEqual([200, 200, 200]);
    fresh.destroy();
    passed += 1;
  }
  expect(passed).toBeGreaterThan(10);
  expect(lost()).toEqual([]);
  await expect.poll(lost, { timeout: 5000 }).toEqual(['expired']);
  // The caller's own SVID is good for an hour, and so are the bundles: it is ours that has ended.
  expect(new X509Certificate(planner.cert).validToDate.getTime()).toBeGreaterThan(Date.now() + 60_000);
  const calls = stage.tool.seen.length;
  const came = stage.program.seen.length;
  for (let count = 0; count < 10; count += 1) expect(await stage.call()).toBe('identity_unavailable');
  expect(await ask(first)).toBe('identity_unavailable');
  await expect(connectTls(inbound, planner)).rejects.toThrow();
  expect([stage.tool.seen.length, stage.program.seen.length]).toEqual([calls, came]);
  first.destroy();
  const restartedAtMs = performance.now();
  await domain.startAgent();
  await expect.poll(stage.call, { timeout: 40_000, interval: 100 }).toBe(200);
  const recoveredMs = Math.round(performance.now() - restartedAtMs);
  const again = await connectTls(inbound, planner);
  expect(await ask(again)).toBe(200);
  again.destroy();
  console.log(
    `${passed} rounds passed in ${Math.round((restartedAtMs - killedAtMs) / 1000)} s without an agent; calls passed again ${recoveredMs} ms after its start`,
  );
}, 120_000);

test('an agent that is started again while the SVID lives is not missed', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const losses = lost().length;
  await domain.killAgent();
  expect(await stage.call()).toBe(200);
  await domain.startAgent();
  const rotations = () => stage.sidecar.metric('waybill_svid_rotations_total');
  const before = await rotations();
  while ((await rotations()) === before) expect(await stage.call()).toBe(200);
  expect(lost().length).toBe(losses);
}, 60_000);

test('a server of SPIRE that is away is not noticed while SVIDs live', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await domain.stopServer();
  for (let count = 0; count < 10; count += 1) expect(await stage.call()).toBe(200);
  await domain.startServer();
  expect(await stage.call()).toBe(200);
}, 60_000);
