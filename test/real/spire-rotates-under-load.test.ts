import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readRecord } from '../stage/event-record.ts';
import { startLoad } from '../stage/load.ts';
import { basic } from '../stage/raw-call.ts';
import { buildLimitMs } from '../stage/spire-programs.ts';
import { openSpire, type FetchedSvid, type SpireDomain } from '../stage/spire.ts';
import { openSvidTool, type SvidTool } from '../stage/svid-tool.ts';
import { startWayInLoad } from '../stage/way-in-load.ts';
import {
  agentEntry,
  agentId,
  domainName,
  fetcherSelectors,
  findSpire,
  openSpireStage,
  type SpireStage,
} from './spire-stage.ts';

/** How long the load goes on, seconds. */
const soakSeconds = Number(process.env['WAYBILL_SOAK_SECONDS'] ?? 45);
/** The shortest lives that show many rotations: SPIRE renews at half of them, and its caches ask each half second. */
const lives = { x509TtlSeconds: 10, jwtTtlSeconds: 10 };

let missing: string | undefined;
let domain: SpireDomain;
let stage: SpireStage;
let mesh: SvidTool;

beforeAll(async () => {
  const programs = await findSpire();
  if (typeof programs === 'string') {
    missing = programs;
    return;
  }
  domain = await openSpire(programs, domainName);
  await domain.createEntry(agentEntry(lives));
  await domain.createEntry({ path: '/planner', selectors: fetcherSelectors(domain), ...lives });
  // Tokens are used for a second: each needs a new exchange, and so the JWT-SVID of that moment.
  const tls = { spiffe_id: `spiffe://${domainName}/planner`, client: 'svid' };
  mesh = await openSvidTool(await domain.fetch());
  const tools = { mesh: { match: { host: 'mesh.test' }, dial: `127.0.0.1:${mesh.port}`, tls } };
  stage = await openSpireStage(domain, { useFor: '1s', tools });
}, buildLimitMs);
afterAll(async () => {
  await stage?.close();
  mesh?.close();
  await domain?.close();
});

/** Fetches the SVID of caller and tool anew every two seconds, through SPIRE's own client. */
function keepFetching(first: FetchedSvid) {
  let svid = first;
  let fetched = 1;
  const stop = new AbortController();
  const finished = (async () => {
    while (!stop.signal.aborted) {
      await sleep(2000);
      svid = await domain.fetch();
      mesh.show(svid);
      fetched += 1;
    }
  })();
  return {
    svid: () => svid,
    count: () => fetched,
    async stop() {
      stop.abort();
      await finished;
    },
  };
}

test(
  'SVIDs that live for ten seconds rotate under load, and no request fails, out or in',
  async (context) => {
    if (missing !== undefined) context.skip(missing);
    await expect.poll(stage.call, { timeout: 20_000 }).toBe(200);
    const { outbound, inbound = '' } = stage.sidecar.addresses;
    const planner = keepFetching(await domain.fetch());
    const headers = { 'proxy-authorization': basic(stage.task.handle) };
    const out = startLoad(outbound, 2, () => ({ origin: 'http://crm.test', path: '/orders', headers }));
    const secure = startLoad(outbound, 2, () => ({
      origin: `http://${outbound}`,
      path: '/tools/mesh/orders',
      headers: {},
    }));
    const into = startWayInLoad({
      address: () => inbound,
      host: 'invoice-bot.example.org',
      serverId: agentId,
      svid: planner.svid,
      workers: 4,
      perConnection: 10,
      pauseMs: 20,
    });
    await sleep(soakSeconds * 300);
    // The authorities change too. Whoever verifies has to have heard of the next one before it signs.
    for (const kind of ['jwt', 'x509'] as const) {
      const next = await domain.prepareAuthority(kind);
      await stage.learnKeys();
      await sleep(Math.max(4000, soakSeconds * 100));
      await domain.activateAuthority(kind, next);
    }
    await sleep(soakSeconds * 500);
    await Promise.all([out.stop(), secure.stop(), into.stop(), planner.stop()]);
    const rotations = await stage.sidecar.metric('waybill_svid_rotations_total');
    const { exchanges } = stage.service.counters;
    console.log(
      `${soakSeconds} s: ${out.answers.length} calls out with a token, ${secure.answers.length} over mTLS with ` +
        `${mesh.callers.size} certificates, ${into.passed()} requests in, ${rotations} rotations, ` +
        `${into.served.size} certificates served, ${planner.count()} fetched by the caller, ${exchanges} exchanges`,
    );
    const told = readRecord(stage.sidecar.eventsFile);
    expect(told.filter(({ event }) => event === 'token.rejected' || event === 'svid.lost')).toEqual([]);
    const failed = [...out.answers, ...secure.answers].filter(({ status }) => status !== 200);
    expect(failed.slice(0, 5)).toEqual([]);
    expect(into.failures.slice(0, 5)).toEqual([]);
    expect(rotations).toBeGreaterThan(soakSeconds / 6);
    expect(mesh.callers.size).toBeGreaterThan(soakSeconds / 8);
    expect([...mesh.callers].every((caller) => caller.startsWith(`${agentId} `))).toBe(true);
    expect(mesh.refused()).toBe(0);
    expect(into.served.size).toBeGreaterThan(soakSeconds / 8);
    expect(exchanges).toBeGreaterThan(soakSeconds / 3);
    expect(out.answers.length).toBeGreaterThan(soakSeconds * 20);
    expect(secure.answers.length).toBeGreaterThan(soakSeconds * 20);
    expect(into.passed()).toBeGreaterThan(soakSeconds * 10);
    expect(told.filter(({ event }) => event === 'call.refused')).toEqual([]);
  },
  (soakSeconds + 60) * 1000,
);
