import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { openAuthority, type Authority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { openSvidFiles } from '../../proxy/spiffe/svid-files.ts';
import { openWorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { openScriptedWorkloadApi } from '../fakes/scripted-workload-api.ts';
import { issueTexts, writeInPlace } from '../fakes/svid-folder.ts';
import { openFakeTokenService } from '../fakes/token-service.ts';
import { openEchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openInProcess } from '../stage/sidecar-in-process.ts';
import { callOperator } from '../stage/sidecar-process.ts';

const spiffeId = 'spiffe://example.org/invoice-bot';
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-clock-'));
  closing.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A token of ours for some audience, good for two hours. */
function issueToken(authority: Authority, aud: readonly string[]): string {
  const iat = Math.floor(Date.now() / 1000);
  return authority.issueJwt({ sub: spiffeId, aud, iss: 'https://example.org', iat, exp: iat + 7200 });
}

async function svidOf(authority: Authority, id: string, ttlSeconds: number, hint = ''): Promise<object> {
  const { chainDer, keyDer } = await authority.issueX509(id, ttlSeconds);
  return { spiffe_id: id, x509_svid: chainDer, x509_svid_key: keyDer, bundle: authority.bundle().x509Der, hint };
}

/** The clock goes over the end of an SVID while timers stand still: a machine that slept, or a clock that was set. */
test('W1: an identity that ended while the machine slept is used for no call, and that is recorded', async () => {
  const authority = await openAuthority('example.org');
  const socketPath = join(makeFolder(), 'agent.sock');
  const ttls = { x509TtlSeconds: 120, jwtTtlSeconds: 1200 };
  const agent = await openWorkloadApiServer({ socketPath, authority, spiffeId, ...ttls });
  closing.push(() => agent.close());
  const service = await openFakeTokenService({ secret: 'stage-client-secret-0123456789abcdef' });
  closing.push(() => service.close());
  const tool = await openEchoTool();
  closing.push(() => tool.close());
  let sleptMs = 0;
  const token = { from: 'corp', audience: 'crm', scopes: ['crm.read'], use_for: '15m' };
  const stage = await openInProcess(
    {
      identity: { workload_api: `unix://${socketPath}` },
      trust: { issuers: [{ issuer: service.issuer, audience: 'invoice-bot' }] },
      token_services: { corp: { issuer: service.issuer, client_auth: 'spiffe_jwt' } },
      tools: { crm: { match: { host: 'crm.test' }, dial: `127.0.0.1:${tool.port}`, token } },
    },
    { now: () => Date.now() + sleptMs },
  );
  closing.push(() => stage.close());
  const { socket, health } = stage.sidecar.addresses;
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const subject_token = await service.subjectToken({ sub: 'alice', exp });
  const { body } = await callOperator(socket, 'POST', '/v1/tasks', { subject_token });
  const call = async () => {
    const { code, status } = await callThrough(stage.outbound, 'http://crm.test/', { handle: String(body['handle']) });
    return code ?? status;
  };
  const causes = () =>
    readRecord(stage.eventsFile).flatMap(({ event, cause }) => (event === 'svid.lost' ? [cause] : []));
  expect(await call()).toBe(200);
  agent.close();
  sleptMs = 180_000;
  // Nobody asks who we are: it is looked at all the same.
  await eventually('the loss', () => causes().length > 0, 2000);
  expect([await call(), causes(), tool.seen.length]).toEqual(['identity_unavailable', ['expired'], 1]);
  expect((await fetch(`http://${health}/readyz`)).status).toBe(503);
});

test('W1: no reader of the Workload API is handed what has ended: neither the default, nor others, nor JWT-SVIDs', async () => {
  const authority = await openAuthority('example.org');
  const agent = await openScriptedWorkloadApi();
  closing.push(() => agent.close());
  const short = 'spiffe://example.org/short';
  const svids = [await svidOf(authority, spiffeId, 3600), await svidOf(authority, short, 60, 'short')];
  agent.answers = {
    FetchX509SVID: () => ({ messages: [{ svids }] }),
    FetchJWTSVID: (_count, request) => {
      const { audience } = request as { audience: string[] };
      return { messages: [{ svids: [{ spiffe_id: spiffeId, svid: issueToken(authority, audience) }] }] };
    },
  };
  let aheadMs = 0;
  const events: WorkloadApiEvent[] = [];
  const lost = () => events.filter(({ kind }) => kind === 'svid.lost');
  const onEvent = (event: WorkloadApiEvent) => events.push(event);
  const client = openWorkloadApi({ address: agent.address, now: () => Date.now() + aheadMs, onEvent });
  closing.push(() => client.close());
  await eventually('the SVIDs', () => client.x509()?.svids.length === 2);
  const held = await client.fetchJwtSvid('a');
  aheadMs = 120_000;
  expect(client.x509()?.svids.map((svid) => svid.spiffeId.toString())).toEqual([spiffeId]);
  expect(client.x509()).toBe(client.x509());
  expect([lost(), await client.fetchJwtSvid('a')]).toEqual([[], held]);

  aheadMs = 3_601_000;
  agent.answers.FetchJWTSVID = () => ({ messages: [{ svids: [] }] });
  // Its end is noticed by whoever asks first.
  await expect(client.fetchJwtSvid('a')).rejects.toMatchObject({ name: 'IdentityUnavailable' });
  expect(lost()).toEqual([{ kind: 'svid.lost', spiffeId, cause: 'expired' }]);
  expect([client.x509(), client.identity()]).toEqual([undefined, undefined]);
  expect(lost()).toHaveLength(1);
});

test('W1: nor is anybody of the SVIDs in a folder, and a token does not stand in for the certificate that ended', async () => {
  const authority = await openAuthority('example.org');
  const folder = makeFolder();
  const { certificate, key, bundle } = await issueTexts(authority, spiffeId, 60);
  const files = { 'svid.pem': certificate, 'svid_key.pem': key, 'svid_bundle.pem': bundle };
  await writeInPlace(folder, { ...files, 'jwt_svid.token': issueToken(authority, ['a']) });
  let aheadMs = 0;
  const events: string[] = [];
  const svids = await openSvidFiles({
    folder,
    now: () => Date.now() + aheadMs,
    onEvent: ({ kind }) => events.push(kind),
  });
  closing.push(() => svids.close());
  expect((await svids.fetchJwtSvid('a')).spiffeId.toString()).toBe(spiffeId);
  aheadMs = 120_000;
  await expect(svids.fetchJwtSvid('a')).rejects.toMatchObject({ reason: 'unavailable' });
  expect([svids.x509(), svids.identity()]).toEqual([undefined, undefined]);
  expect(events.filter((kind) => kind === 'svid.lost')).toHaveLength(1);
});
