import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { runWaybill } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { callOperator, type StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

interface Listed extends Record<string, unknown> {
  readonly txn: string;
  readonly id: string;
  readonly revoke: string;
}
type Inventory = Record<'agents' | 'credentials' | 'tasks', Listed[]>;

const key = 'static-key-of-a-tool-0123456789';
const rude = `=cmd|'/c calc'!A0,"<script>alert(1)</script>\u001b[2J\u202etob`;
let tool: EchoTool;
let stage: Stage;
let workload: WorkloadApiServer;

beforeAll(async () => {
  tool = await openEchoTool();
  const dir = mkdtempSync(join(tmpdir(), 'waybill-inventory-'));
  writeFileSync(join(dir, 'key'), key);
  const authority = await openAuthority('example.org');
  workload = await openWorkloadApiServer({
    socketPath: join(dir, 'workload.sock'),
    authority,
    spiffeId: 'spiffe://example.org/bot',
    x509TtlSeconds: 3600,
    jwtTtlSeconds: 300,
  });
  stage = await openStage({
    dir,
    tools: {
      crm: { port: tool.port, proof: 'dpop' },
      files: { port: tool.port },
      mail: { port: tool.port, token: false, more: { secret: { file: join(dir, 'key'), in: 'header' } } },
    },
    sections: {
      agent: { name: 'bot', owner: 'payments@example.org', purpose: 'reconcile', environment: 'test' },
      identity: { workload_api: `unix://${workload.socketPath}` },
    },
  });
});
afterAll(async () => {
  await stage?.close();
  workload?.close();
  await tool.close();
});

const inventory = async (): Promise<Inventory> =>
  (await callOperator(stage.sidecar.addresses.socket, 'GET', '/v1/inventory')).body as Inventory;
const use = ({ handle }: StagedTask, name: string) =>
  callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/x`, { handle });
const idOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);
const run = (...args: string[]) => runWaybill([...args, '--socket', stage.sidecar.addresses.socket]);

test('W8: each identity, token, static key and task is listed with all that is known of it, and nothing that could be used', async () => {
  const task = await stage.task('alice', { tools: ['crm', 'mail'] });
  const before = Date.now();
  expect([(await use(task, 'crm')).status, (await use(task, 'mail')).status]).toEqual([200, 200]);
  const issued = stage.service.issued.at(-1) ?? '';
  utimesSync(join(stage.dir, 'key'), 1_700_000_000, 1_700_000_000);
  const found = await inventory();
  expect(found.agents).toMatchObject([
    { spiffe_id: 'spiffe://example.org/bot', name: 'bot', owner: 'payments@example.org', purpose: 'reconcile' },
  ]);
  expect(Date.parse(String(found.agents[0]?.['svid_expires_at']))).toBeGreaterThan(before + 3_000_000);
  expect(found.agents[0]).toMatchObject({
    svid_rotations: 1,
    revoke: expect.stringContaining('--agent spiffe://') as string,
  });
  const [token, secret] = found.credentials;
  expect(token).toMatchObject({
    kind: 'token',
    id: idOf(issued),
    service: 'corp',
    tool: 'crm',
    txn: task.txn,
    owner: 'payments@example.org',
    purpose: 'reconcile',
    scopes: ['crm.read'],
    binding: 'key',
    revoke: `waybill revoke --task ${task.txn} --reason …`,
  });
  for (const name of ['issued_at', 'last_used_at'])
    expect(Date.parse(String(token?.[name]))).toBeGreaterThan(before - 1000);
  expect(Date.parse(String(token?.['expires_at']))).toBeGreaterThan(before);
  expect(secret).toMatchObject({
    kind: 'secret',
    id: idOf(key),
    tool: 'mail',
    binding: 'static',
    files: [join(stage.dir, 'key')],
    last_rotated_at: '2023-11-14T22:13:20.000Z',
  });
  expect(Date.parse(String(secret?.['last_used_at']))).toBeGreaterThan(before - 1000);
  expect(found.tasks).toMatchObject([
    { txn: task.txn, state: 'open', subject: { sub: 'alice' }, purpose: 'reconcile', tools: ['crm', 'mail'] },
  ]);
  const text = JSON.stringify(found);
  for (const secretText of [issued, key, task.handle, stage.clientSecret])
    expect(text).not.toContain(secretText.slice(-16));
  await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${task.txn}/complete`);
  expect(await inventory()).toMatchObject({ credentials: [{ kind: 'secret' }], tasks: [] });
});

test('W8: after many tasks, uses, ends and revocations in random order it says what is, and a restart leaves nothing', async () => {
  const open = new Map<string, StagedTask>();
  const used = new Map<string, Set<string>>();
  let seed = 7;
  const dice = (sides: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % sides;
  const any = () => [...open.values()][dice(open.size)];
  const gone = (txn: string): void => void (open.delete(txn), used.delete(txn));
  for (let step = 0; step < 300; step++) {
    const what = dice(10);
    const task = any();
    if (what < 3 || task === undefined) {
      const opened = await stage.task(`user${dice(4)}`);
      open.set(opened.txn, opened);
      used.set(opened.txn, new Set());
    } else if (what < 8) {
      const name = dice(2) === 0 ? 'crm' : 'files';
      expect((await use(task, name)).status).toBe(200);
      used.get(task.txn)?.add(name);
    } else if (what === 8) {
      await callOperator(stage.sidecar.addresses.socket, 'POST', `/v1/tasks/${task.txn}/fail`);
      gone(task.txn);
    } else {
      const body = { task: task.txn, reason: 'test' };
      expect((await callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/revoke', body)).status).toBe(200);
      gone(task.txn);
    }
  }
  const found = await inventory();
  expect(found.tasks.map(({ txn }) => txn).toSorted()).toEqual([...open.keys()].toSorted());
  const tokens = found.credentials
    .filter(({ kind }) => kind === 'token')
    .map(({ txn, tool: name }) => `${txn} ${String(name)}`);
  const wanted = [...used].flatMap(([txn, names]) => [...names].map((name) => `${txn} ${name}`));
  expect(tokens.toSorted()).toEqual(wanted.toSorted());
  expect(wanted.length).toBeGreaterThan(10);
  await stage.sidecar.stop();
  await stage.restart();
  expect(await inventory()).toMatchObject({ credentials: [{ kind: 'secret' }], tasks: [] });
});

test('W8: as table, CSV and page; whatever a subject is called stays text', async () => {
  const task = await stage.task(rude);
  await use(task, 'crm');
  const table = await run('inventory');
  expect([table.code, table.stdout.includes('spiffe://example.org/bot')]).toEqual([0, true]);
  const list = await run('tasks', 'list');
  expect(list.stdout).toContain(task.txn);
  for (const { stdout } of [table, list]) expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
  const { stdout } = await run('inventory', '--csv');
  const lines = stdout.trim().split('\n');
  expect(lines).toHaveLength(1 + 4);
  expect(stdout).toContain(`"'=cmd|'/c calc'!A0,""<script>`);
  expect(JSON.parse((await run('inventory', '--json')).stdout)).toMatchObject({ tasks: [{ txn: task.txn }] });
  const file = join(stage.dir, 'page.html');
  expect(await run('inventory', '--html', file)).toMatchObject({ code: 0, stdout: '' });
  const page = readFileSync(file, 'utf8');
  expect(page).toContain('&#60;script&#62;alert(1)');
  expect(page).not.toMatch(/<script|src=|href=|url\(/);
  expect(page.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
  expect(page).toContain(task.txn);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(await run('inventory', '--html', file)).toMatchObject({ code: 64 });
  expect((await run('inventory', '--csv', '--json')).code).toBe(64);
});
