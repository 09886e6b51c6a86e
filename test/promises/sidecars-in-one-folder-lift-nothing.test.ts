import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let service: FakeTokenService;
let tool: EchoTool;
let folder: string;
let sidecars: readonly Stage[];

beforeAll(async () => {
  service = await openFakeTokenService({ secret: 'stage-client-secret-0123456789abcdef' });
  tool = await openEchoTool();
  folder = mkdtempSync(join(tmpdir(), 'waybill-one-folder-'));
  sidecars = [await open('a'), await open('b')];
});
afterAll(async () => {
  for (const stage of sidecars) await stage.close();
  await service.close();
  await tool.close();
  rmSync(folder, { recursive: true });
});

/** Its record, and what it keeps beside it, lie where those of the other do. */
function open(name: string): Promise<Stage> {
  const sections = { record: { file: join(folder, `${name}.jsonl`) } };
  return openStage({ shares: service, tools: { crm: { port: tool.port } }, sections });
}
async function revoke(at: number, sub: string): Promise<number> {
  const subject = { iss: service.issuer, sub };
  const socket = sidecars[at]!.sidecar.addresses.socket;
  return (await callOperator(socket, 'POST', '/v1/revoke', { subject, reason: 'test' })).status;
}
async function tryOpen(at: number, token: string): Promise<number> {
  const socket = sidecars[at]!.sidecar.addresses.socket;
  return (await callOperator(socket, 'POST', '/v1/tasks', { subject_token: token })).status;
}

test('W11: what one sidecar revoked is revoked after its restart, whatever another one revokes in the same folder', async () => {
  const names = Array.from({ length: 30 }, (_, at) => `user-${at}`);
  const tokens = await Promise.all(names.map((sub) => service.subjectToken({ sub })));
  // At the same time, each in its own process.
  const statuses = await Promise.all(names.map((sub, at) => revoke(at % 2, sub)));
  expect(statuses).toEqual(names.map(() => 200));
  for (const [at, { sidecar }] of sidecars.entries()) {
    await sidecar.kill();
    await sidecars[at]!.restart();
  }
  for (const [at, token] of tokens.entries()) expect(await tryOpen(at % 2, token), names[at]).toBe(403);
  // To remove the file while none of them runs lifts all.
  for (const { sidecar } of sidecars) await sidecar.stop();
  expect(readFileSync(join(folder, 'revocations.json'), 'utf8')).toContain('user-29');
  rmSync(join(folder, 'revocations.json'));
  for (const stage of sidecars) await stage.restart();
  for (const at of [0, 1]) expect(await tryOpen(at, tokens[at]!)).toBe(201);
});
