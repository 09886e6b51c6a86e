import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { type Authority, openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { openCaller } from '../stage/caller.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { connectTls } from '../stage/tls-caller.ts';
import { openWayIn } from '../stage/way-in-stage.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const spiffeId = 'spiffe://example.org/invoice-bot';
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

interface Scene {
  readonly stage: Stage;
  readonly tool: EchoTool;
  readonly authority: Authority;
  readonly workloadApi: WorkloadApiServer;
  readonly socketPath: string;
  /** Calls the tool in the task of a user: status, or code of the refusal. */
  readonly call: () => Promise<number | string>;
  /** `Authorization` of the last call that the tool saw. */
  readonly lastToken: () => string | undefined;
  readonly causes: (event: string) => unknown[];
}

/** A sidecar that is the client `spiffe_jwt` of its token service, and one task. JWT-SVIDs and tokens live for minutes. */
async function openScene(x509TtlSeconds: number): Promise<Scene> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-identity-'));
  const socketPath = join(dir, 'agent.sock');
  const authority = await openAuthority('example.org');
  const identity = { socketPath, authority, spiffeId, x509TtlSeconds, jwtTtlSeconds: 300 };
  const workloadApi = await openWorkloadApiServer(identity);
  closing.push(() => workloadApi.close());
  const tool = await openEchoTool();
  closing.push(() => tool.close());
  const stage = await openStage({
    dir,
    tools: { crm: { port: tool.port } },
    corp: { client_auth: 'spiffe_jwt', client_id: undefined, client_secret_file: undefined },
    sections: { identity: { workload_api: `unix://${socketPath}` } },
  });
  closing.push(() => stage.close());
  const { handle } = await stage.task();
  return {
    stage,
    tool,
    authority,
    workloadApi,
    socketPath,
    call: async () => {
      const { status, code } = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/', { handle });
      return code ?? status;
    },
    lastToken: () => tool.seen.at(-1)?.headers.authorization,
    causes: (name) =>
      readRecord(stage.sidecar.eventsFile)
        .filter(({ event }) => event === name)
        .map(({ cause }) => cause),
  };
}

test('an identity that is taken away takes its tokens with it, and they go back when it returns', async () => {
  const { stage, tool, workloadApi, call, causes } = await openScene(3600);
  expect([await call(), await call(), stage.service.issued.length]).toEqual([200, 200, 1]);
  await workloadApi.removeEntries();
  await eventually('the loss', () => causes('svid.lost').length > 0, 1000);
  expect([await call(), await call()]).toEqual(['identity_unavailable', 'identity_unavailable']);
  expect(tool.seen.length).toBe(2);
  await workloadApi.setEntries([{ spiffeId }]);
  await expect.poll(call, { timeout: 10_000 }).toBe(200);
  expect(stage.service.issued.length).toBe(2);
  // Only somebody with an identity can give a token back: until then it waits.
  await eventually('the revocation', () => stage.service.revoked.length > 0, 10_000);
  expect(stage.service.revoked).toEqual([stage.service.issued[0]]);
  expect(causes('token.revoked')).toEqual(['identity_lost']);
}, 40_000);

test('a token that is being issued while the identity goes is used by nobody', async () => {
  const { stage, tool, workloadApi, call, causes } = await openScene(3600);
  stage.service.delayMs = 700;
  const called = call();
  await eventually('the exchange', () => stage.service.counts.token > 0);
  await workloadApi.removeEntries();
  await eventually('the loss', () => causes('svid.lost').length > 0, 600);
  expect(await called).toBe('identity_unavailable');
  expect([stage.service.issued.length, tool.seen.length]).toEqual([1, 0]);
}, 40_000);

test('under another identity nothing is used that the one before it obtained', async () => {
  const { stage, workloadApi, call, lastToken, causes } = await openScene(3600);
  expect(await call()).toBe(200);
  const before = lastToken();
  await workloadApi.setEntries([{ spiffeId: `${spiffeId}-two` }]);
  await eventually('the change', () => causes('svid.rotated').length > 1);
  expect(await call()).toBe(200);
  expect(lastToken()).not.toBe(before);
  await eventually('the revocation', () => stage.service.revoked.length > 0);
  // The next certificate of the same identity changes nothing.
  const after = lastToken();
  await workloadApi.rotate();
  await eventually('the rotation', () => causes('svid.rotated').length > 2);
  expect([await call(), lastToken()]).toEqual([200, after]);
}, 40_000);

test('while the agent of SPIFFE is away calls pass until the SVID ends, then none, until there is a new one', async () => {
  const { tool, authority, workloadApi, socketPath, call, causes } = await openScene(6);
  expect(await call()).toBe(200);
  workloadApi.close();
  const closedAtMs = performance.now();
  let passed = 0;
  // Token and JWT-SVID would be good for minutes.
  while (causes('svid.lost').length === 0 && performance.now() - closedAtMs < 10_000) {
    const answer = await call();
    if (causes('svid.lost').length === 0) expect(answer).toBe(200);
    passed += 1;
  }
  expect(causes('svid.lost')).toEqual(['expired']);
  expect(passed).toBeGreaterThan(10);
  expect(performance.now() - closedAtMs).toBeGreaterThan(2000);
  const seen = tool.seen.length;
  expect(await call()).toBe('identity_unavailable');
  expect(tool.seen.length).toBe(seen);
  const again = await openWorkloadApiServer({ socketPath, authority, spiffeId, x509TtlSeconds: 60, jwtTtlSeconds: 60 });
  closing.push(() => again.close());
  await expect.poll(call, { timeout: 20_000 }).toBe(200);
}, 60_000);

test('a connection of the way in that was opened with the SVID carries nothing after it', async () => {
  const authority = await openAuthority('example.org');
  const stage = await openWayIn({ authority, origin: 'https://agent.example.org' });
  closing.push(() => stage.close());
  const caller = await openCaller({ ...stage.to, connect: () => connectTls(stage.to.address()) });
  const socket = await caller.connect();
  const send = async () => (await caller.call({}, socket)).code;
  expect([await send(), await send()]).toEqual([undefined, undefined]);
  await stage.workload?.removeEntries();
  const lost = () => readRecord(stage.sidecar.eventsFile).some(({ event }) => event === 'svid.lost');
  await eventually('the loss', lost, 1000);
  expect(await send()).toBe('identity_unavailable');
  expect(stage.program.seen.length).toBe(2);
  socket.destroy();
}, 40_000);
