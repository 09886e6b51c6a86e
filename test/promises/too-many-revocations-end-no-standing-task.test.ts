import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeStore } from '../fakes/store.ts';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

const oldMs = Date.now() - 30 * 86_400_000;
const names = Array.from({ length: 4096 }, (_, at) => `user-${at}`);
let service: FakeTokenService;
let tool: EchoTool;

beforeAll(async () => {
  service = await openFakeTokenService({ secret: 'stage-client-secret-0123456789abcdef' });
  tool = await openEchoTool();
});
afterAll(async () => {
  await service.close();
  await tool.close();
});

/** A sidecar whose agent acts for itself. */
function open(dir: string, sections: Record<string, unknown> = {}): Promise<Stage> {
  const token = { from: 'corp', audience: 'crm', scopes: ['crm.read'], grant: 'client_credentials' };
  return openStage({
    dir,
    shares: service,
    tools: { crm: { port: tool.port, more: { on_behalf_of: 'agent', token } } },
    sections: { tasks: { standing: { purpose: 'self', tools: ['crm'] } }, ...sections },
  });
}
const revoke = ({ sidecar }: Stage, what: Record<string, unknown>) =>
  callOperator(sidecar.addresses.socket, 'POST', '/v1/revoke', { reason: 'test', ...what });
const tryOpen = async ({ sidecar }: Stage, sub: string, iat: number): Promise<number> => {
  const token = await service.subjectToken({ sub, iat: Math.floor(iat / 1000) });
  return (await callOperator(sidecar.addresses.socket, 'POST', '/v1/tasks', { subject_token: token })).status;
};
const use = async ({ sidecar }: Stage): Promise<number> =>
  (await callThrough(sidecar.addresses.outbound, 'http://crm.test/x', {})).status;

test('W11: an agent that was revoked stays so over a restart, however much was revoked after it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-many-'));
  const agent = { principal: { kind: 'agent', id: 'invoice-bot' }, before: new Date(oldMs).toISOString() };
  const before = new Date(oldMs + 1000).toISOString();
  const cutOffs = names.slice(1).map((sub) => ({ principal: { kind: 'subject', iss: service.issuer, sub }, before }));
  writeFileSync(
    join(dir, 'revocations.json'),
    JSON.stringify({ version: 1, cut_offs: [agent, ...cutOffs], tasks: [] }),
  );
  const stage = await open(dir);
  try {
    // The standing task is not opened at all.
    expect(await use(stage)).toBe(407);
    for (const sub of ['one-more', 'another'])
      expect((await revoke(stage, { subject: { iss: service.issuer, sub } })).status).toBe(200);
    await stage.sidecar.stop();
    await stage.restart();
    expect(await use(stage)).toBe(407);
  } finally {
    await stage.close();
  }
});

test('W11: one sidecar keeps its standing task over a restart; whoever is forgotten stays out, and it is told once', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-many-'));
  const before = new Date(oldMs).toISOString();
  const cutOffs = names.map((sub) => ({ principal: { kind: 'subject', iss: service.issuer, sub }, before }));
  writeFileSync(join(dir, 'revocations.json'), JSON.stringify({ version: 1, cut_offs: cutOffs, tasks: [] }));
  const stage = await open(dir);
  try {
    expect(await use(stage)).toBe(200);
    for (const sub of ['one-more', 'another'])
      expect((await revoke(stage, { subject: { iss: service.issuer, sub } })).status).toBe(200);
    expect(stage.sidecar.output().split('more is revoked than can be kept').length).toBe(2);
    await stage.sidecar.stop();
    await stage.restart();
    expect(await use(stage)).toBe(200);
    for (const sub of ['user-0', 'user-1']) expect(await tryOpen(stage, sub, oldMs - 60_000)).toBe(403);
    expect(await tryOpen(stage, 'nobody', Date.now())).toBe(201);
    // What an operator says of everything is another thing.
    expect((await revoke(stage, { all: true })).body['tasks']).toBe(2);
    expect(await use(stage)).toBe(407);
  } finally {
    await stage.close();
  }
});

test('W11: in a fleet it ends none either, at once', async () => {
  const store = await openFakeStore();
  const set = new Map(names.map((sub, at) => [JSON.stringify(['subject', service.issuer, sub]), oldMs + at]));
  store.sets.set('waybill:revoked:cut-offs', set);
  const dirs = ['a', 'b'].map((name) => mkdtempSync(join(tmpdir(), `waybill-many-${name}-`)));
  const fleet = { store: `valkey://127.0.0.1:${store.port}` };
  const stages = [await open(dirs[0]!, { fleet }), await open(dirs[1]!, { fleet })];
  try {
    for (const { sidecar } of stages)
      await eventually('ready', async () => (await fetch(`http://${sidecar.addresses.health}/readyz`)).ok, 20_000);
    expect((await revoke(stages[0]!, { subject: { iss: service.issuer, sub: 'one-more' } })).status).toBe(200);
    await sleep(1500);
    for (const stage of stages) {
      expect(await use(stage)).toBe(200);
      expect(await tryOpen(stage, 'user-0', oldMs - 60_000)).toBe(403);
    }
  } finally {
    for (const stage of stages) await stage.close();
    await store.close();
    for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
  }
});
