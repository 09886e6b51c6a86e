import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openWorkloadApi, type WorkloadApi } from '../../proxy/spiffe/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { readRecord } from '../stage/event-record.ts';
import { findSecrets, secretsOfToken, type KnownSecret, type Leftover } from '../stage/secret-scan.ts';
import { buildLimitMs } from '../stage/spire-programs.ts';
import { openSpire, type SpireDomain } from '../stage/spire.ts';
import { connectTls } from '../stage/tls-caller.ts';
import {
  agentEntry,
  agentId,
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
let entry: string;
/** The same workload by its user and program: the agent gives it the very keys and tokens that it gives the sidecar. */
let twin: WorkloadApi;
/** When the twin's stream said that the identity is gone, `performance.now()`. */
let endedAtMs: number | undefined;

beforeAll(async () => {
  const programs = await findSpire();
  if (typeof programs === 'string') {
    missing = programs;
    return;
  }
  domain = await openSpire(programs, domainName);
  entry = await domain.createEntry(agentEntry());
  await domain.createEntry({ path: '/planner', selectors: fetcherSelectors(domain) });
  stage = await openSpireStage(domain);
  twin = openWorkloadApi({
    address: domain.workloadApi,
    now: Date.now,
    onEvent: ({ kind }) => {
      if (kind === 'svid.lost') endedAtMs = performance.now();
    },
  });
}, buildLimitMs);
afterAll(async () => {
  twin?.close();
  await stage?.close();
  await domain?.close();
});

const causes = (name: string): unknown[] =>
  readRecord(stage.sidecar.eventsFile)
    .filter(({ event }) => event === name)
    .map(({ cause }) => cause);

test('an agent that SPIRE knows by its selectors gets a token for its tool', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await expect.poll(stage.call, { timeout: 20_000 }).toBe(200);
  const token = String(stage.tool.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
  expect(decodeJwt(token)).toMatchObject({ sub: 'alice', aud: 'crm', scope: 'crm.read', act: { sub: agentId } });
  const rotated = readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'svid.rotated');
  expect(rotated[0]).toMatchObject({ spiffe_id: agentId });
});

test('of all that, no secret is on a disk or shown by the process', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await eventually('the twin has the identity', () => twin.x509() !== undefined);
  const svid = await twin.fetchJwtSvid(stage.service.issuer);
  const key = twin.x509()?.default.privateKey().export({ format: 'jwk' });
  const token = String(stage.tool.seen.at(-1)?.headers.authorization).replace('Bearer ', '');
  const secrets: KnownSecret[] = [
    { name: 'key of the X.509-SVID', value: Buffer.from(key?.d ?? '', 'base64url') },
    ...secretsOfToken('JWT-SVID', svid.token()),
    ...secretsOfToken('token of the tool', token),
    ...secretsOfToken('token of the user', stage.subjectToken),
    { name: 'handle', value: stage.task.handle.slice(12) },
  ];
  const leftovers: Leftover[] = [
    ...readTree(stage.sidecar.dir),
    { where: 'its output', bytes: Buffer.from(stage.sidecar.output()) },
    { where: 'its metrics', bytes: Buffer.from(await stage.sidecar.metrics()) },
    ...['environ', 'cmdline'].map((name) => ({
      where: name,
      bytes: readFileSync(`/proc/${stage.sidecar.pid}/${name}`),
    })),
  ];
  expect(leftovers.length).toBeGreaterThan(6);
  expect(findSecrets(secrets, leftovers)).toEqual([]);
  // What nobody told us of: any key but that of the pod's own authority, any JWT.
  const suspicious = leftovers.filter(({ bytes }) =>
    /PRIVATE KEY|eyJ[\w-]+\.eyJ[\w-]+\./.test(bytes.toString('latin1')),
  );
  expect(suspicious.map(({ where }) => where)).toEqual([join(stage.sidecar.dir, 'ca', 'ca.key')]);
});

test('its last entry is deleted: refused at once, both ways, with all that it had obtained', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const planner = await domain.fetch();
  const socket = await connectTls(stage.sidecar.addresses.inbound ?? '', planner);
  expect(await ask(socket)).toBe(200);
  expect(await stage.call()).toBe(200);
  const { exchanges } = stage.service.counters;
  const into = stage.program.seen.length;
  const deletedAtMs = performance.now();
  await domain.deleteEntry(entry);
  await eventually('the end of the stream', () => endedAtMs !== undefined, 10_000);
  const endMs = endedAtMs ?? 0;
  let refusedAtMs = 0;
  while (refusedAtMs === 0 && performance.now() - endMs < 5000)
    if ((await stage.call()) === 'identity_unavailable') refusedAtMs = performance.now();
  console.log(
    `refused ${Math.round(refusedAtMs - endMs)} ms after the stream's end, ${Math.round(refusedAtMs - deletedAtMs)} ms after the entry was deleted`,
  );
  expect(refusedAtMs).toBeGreaterThan(0);
  expect(refusedAtMs - endMs).toBeLessThan(1000);
  expect(causes('svid.lost')).toEqual(['denied']);
  const calls = stage.tool.seen.length;
  for (let count = 0; count < 20; count += 1) expect(await stage.call()).toBe('identity_unavailable');
  expect(await ask(socket)).toBe('identity_unavailable');
  await expect(connectTls(stage.sidecar.addresses.inbound ?? '', planner)).rejects.toThrow();
  // No cached token was sent, and no cached JWT-SVID got a new one.
  expect(stage.tool.seen.length).toBe(calls);
  expect(stage.program.seen.length).toBe(into);
  expect(stage.service.counters.exchanges).toBe(exchanges);
  expect(await stage.sidecar.metrics()).not.toMatch(/^waybill_credential_expiry_timestamp_seconds\{tool="crm"\} \d/m);
  socket.destroy();
});

test('a new entry: calls pass again, with a new token, and the old one is back at its issuer', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const before = stage.tool.seen.at(-1)?.headers.authorization;
  await domain.createEntry(agentEntry());
  await expect.poll(stage.call, { timeout: 20_000 }).toBe(200);
  expect(stage.tool.seen.at(-1)?.headers.authorization).not.toBe(before);
  await eventually('the revocation', () => causes('token.revoked').length > 0, 20_000);
  expect(causes('token.revoked')).toEqual(['identity_lost']);
  expect(await stage.service.revokeToken(String(before).replace('Bearer ', ''))).toBe(false);
});

/** Every file below a folder. */
function readTree(dir: string): Leftover[] {
  return readdirSync(dir, { withFileTypes: true, recursive: true })
    .filter((entry_) => entry_.isFile())
    .map((file) => join(file.parentPath, file.name))
    .map((where) => ({ where, bytes: readFileSync(where) }));
}
