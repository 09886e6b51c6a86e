import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSource, root } from '../repo/sources.ts';
import { installPrograms } from '../stage/apt-programs.ts';
import { freePort } from '../stage/free-port.ts';
import { openMonitoring, type Monitoring, type Notice } from '../stage/monitoring.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import { removeFolder } from '../stage/sidecar-process.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const proven = 'waybill_replays_blocked_total{grade="proven"}';
const anyAlert = 'count_over_time(ALERTS{alertstate="firing"}[1h])';
const anyReplay = 'count_over_time(waybill:replays_blocked:new5m[1h])';

let missing: string | undefined;
let crm: ScriptedTool;
let files: ScriptedTool;
let stage: WayInStage;
let monitoring: Monitoring;
/** The task whose handle is used at the wrong tool. */
let carol = '';
const folder = mkdtempSync(join(tmpdir(), 'waybill-monitoring-'));

beforeAll(async () => {
  missing = installPrograms({
    prometheus: 'prometheus',
    'prometheus-alertmanager': 'prometheus-alertmanager',
    jq: 'jq',
  });
  if (missing !== undefined) return;
  // A tool that fails every third time, and one that wants a new nonce in every second proof: both make honest clients try again.
  crm = await openScriptedTool((_request, response) => {
    response.writeHead(crm.requests.length % 3 === 0 ? 503 : 200).end('an answer');
  });
  files = await openScriptedTool((request, response) => {
    const nonce = `nonce-${Math.floor(files.requests.length / 2)}`;
    const proof = Buffer.from(String(request.headers['dpop']).split('.')[1] ?? '', 'base64url').toString();
    if (proof.includes(`"${nonce}"`)) response.end('a file');
    else response.writeHead(401, { 'dpop-nonce': nonce, 'www-authenticate': 'DPoP error="use_dpop_nonce"' }).end();
  });
  // The same port after a restart: to Prometheus it is one target whose counters fall to 0, as in production.
  const metrics = `127.0.0.1:${await freePort()}`;
  stage = await openWayIn({
    name: 'invoice-bot',
    tools: { crm: { port: crm.port }, files: { port: files.port, proof: 'dpop' } },
    sections: { listen: { outbound: '127.0.0.1:0', inbound: '127.0.0.1:0', metrics, health: '127.0.0.1:0' } },
  });
  monitoring = await openMonitoring(metrics, folder, join(root, 'deploy', 'prometheus', 'waybill.rules.yaml'));
  // "Ready" is not "has scraped": a rise shows only beside a sample from before it.
  await monitoring.queryUntil('a few scrapes', `min(count_over_time(${proven}[1m]))`, ([at]) => (at?.value ?? 0) >= 3);
});
afterAll(async () => {
  await monitoring?.close();
  await stage?.close();
  await crm?.close();
  await files?.close();
  removeFolder(folder);
});

function call(url: string, handle: string): Promise<{ status: number; code: string | undefined }> {
  return callThrough(stage.sidecar.addresses.outbound, url, { handle });
}

/** Pages and tickets that fired, as `receiver alertname`. */
function told(notices: readonly Notice[]): string[] {
  return notices.filter(({ status }) => status === 'firing').map((one) => `${one.receiver} ${one.labels['alertname']}`);
}

/** Ends the sidecar, starts it anew at the same address, and waits until Prometheus has scraped the new process. */
async function restart(end: 'stop' | 'kill'): Promise<void> {
  await stage.sidecar[end]();
  const ended = Date.now() / 1000;
  await stage.restart();
  await monitoring.queryUntil(
    'a scrape of the new process',
    'min(timestamp(waybill_events_total))',
    ([at]) => (at?.value ?? 0) > ended,
  );
}

/** Time for a few more scrapes and evaluations: what is silent then stays silent. */
const settle = (): Promise<void> => sleep(4000);

/** As a client that tries again: a call is good when one of three attempts is. */
async function callPatiently(url: string, handle: string): Promise<number> {
  let status = 0;
  for (let attempt = 1; attempt <= 3 && status !== 200; attempt += 1) ({ status } = await call(url, handle));
  return status;
}

test('retries with fresh calls, and restarts, raise nothing', async (context) => {
  if (missing !== undefined) context.skip(missing);
  let previous = '';
  const user = await stage.caller();
  for (const end of ['stop', 'kill'] as const) {
    const alice = await stage.task('alice');
    const bob = await stage.task('bob', { handles: 'per_tool' });
    for (let round = 0; round < 10; round += 1) {
      expect(await callPatiently('http://crm.test/orders', alice.handle)).toBe(200);
      expect(await callPatiently('http://files.test/report', alice.handle)).toBe(200);
      expect(await callPatiently('http://crm.test/orders', bob.handles['crm'] ?? '')).toBe(200);
      // The same request of the same user, each time with a proof of its own: on the way in that is a retry.
      expect((await user.call({ path: '/invoices' })).status).toBe(200);
    }
    // What an agent has in its hands after a restart is no replay either.
    if (previous !== '') expect((await call('http://crm.test/', previous)).code).toBe('handle_previous_process');
    previous = alice.handle;
    // The counters of this process are scraped before they fall.
    await sleep(2000);
    await restart(end);
  }
  expect((await call('http://crm.test/', previous)).code).toBe('handle_previous_process');
  await settle();
  expect(await monitoring.query(anyAlert)).toEqual([]);
  expect(await monitoring.query(anyReplay)).toEqual([]);
  expect(monitoring.notices).toEqual([]);
});

test('one replay, a handle of one tool at another, pages within 30 seconds, and nothing else fires', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const { handles, txn } = await stage.task('carol', { handles: 'per_tool' });
  carol = txn;
  const before = files.requests.length;
  const at = performance.now();
  const answer = await call('http://files.test/report', handles['crm'] ?? '');
  expect([answer.status, answer.code]).toEqual([403, 'handle_foreign_tool']);
  while (monitoring.notices.length === 0 && performance.now() - at < 30_000) await sleep(50);
  const [page] = monitoring.notices;
  expect(page).toMatchObject({
    receiver: 'page',
    status: 'firing',
    labels: {
      alertname: 'WaybillReplayProven',
      severity: 'page',
      way: 'out',
      reason: 'handle_foreign_tool',
      grade: 'proven',
      job: 'waybill',
      instance: stage.sidecar.addresses.metrics,
      agent: 'invoice-bot',
    },
    annotations: { runbook_url: 'https://waybill.dev/runbooks#waybillreplayproven' },
  });
  console.log(`the page came ${Math.round((page?.atMs ?? Infinity) - at)} ms after the replay`);
  expect(files.requests.length).toBe(before);
  expect(
    await stage.sidecar.metric(`waybill_replays_blocked_total{way="out",reason="handle_foreign_tool",grade="proven"}`),
  ).toBe(1);
});

test('a used proof again, on the way in, pages as well', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const before = monitoring.notices.length;
  const user = await stage.caller();
  const proof = user.proofFor({ path: '/invoices' });
  expect((await user.send({ path: '/invoices', proof })).status).toBe(200);
  const at = performance.now();
  expect((await user.send({ path: '/invoices', proof })).code).toBe('proof_reused');
  while (monitoring.notices.length === before && performance.now() - at < 30_000) await sleep(50);
  expect(monitoring.notices.slice(before)).toMatchObject([
    { receiver: 'page', labels: { alertname: 'WaybillReplayProven', way: 'in', reason: 'proof_reused' } },
  ]);
});

test('a restart after the replays does not tell them again', async (context) => {
  if (missing !== undefined) context.skip(missing);
  // Prometheus has both by now; the next process begins at 0.
  await monitoring.queryUntil('the replays', `sum(${proven})`, ([at]) => at?.value === 2);
  await restart('kill');
  await monitoring.queryUntil('the counter at 0', `sum(${proven})`, ([at]) => at?.value === 0);
  await settle();
  const rise = await monitoring.query('round(waybill:replays_blocked:new5m{grade="proven"})');
  expect(Object.fromEntries(rise.map(({ labels, value }) => [labels['reason'], value]))).toEqual({
    handle_foreign_tool: 1,
    proof_reused: 1,
  });
  expect(told(monitoring.notices)).toEqual(['page WaybillReplayProven', 'page WaybillReplayProven']);
  const fired = await monitoring.query(`count by (alertname) (${anyAlert})`);
  expect(fired.map(({ labels, value }) => [labels['alertname'], value])).toEqual([['WaybillReplayProven', 2]]);
});

test('the queries of the runbooks find the replays in the record', (context) => {
  if (missing !== undefined) context.skip(missing);
  const blocks = [...readSource('deploy/prometheus/runbooks.md').matchAll(/^ *```sh\n([\s\S]*?)^ *```$/gm)];
  const [load = '', ...queries] = blocks.map(([, text = '']) => text);
  const { eventsFile } = stage.sidecar;
  // There is no cluster here: its `kubectl logs` gives the record, as where that is standard output.
  const shell = `kubectl() { cat ${eventsFile}; }\n${load.replace(/^record=.*$/m, `record=${eventsFile}`)}`;
  const answers = queries.map((query) => {
    const { status, stdout, stderr } = spawnSync('bash', ['-c', `set -o pipefail\n${shell}\n${query}`], {
      encoding: 'utf8',
      cwd: folder,
    });
    expect([status, stderr], query).toEqual([0, '']);
    return stdout;
  });
  const at = queries.findIndex((query) => query.includes('.replay.grade == "proven"'));
  const found = (answers[at] ?? '').trim().split('\n');
  expect(found.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { way: 'out', reason: 'handle_foreign_tool', tool: 'files', txn: carol },
    // Of a request on the way in there is no task: whose token it was, and which proof, is what to go by.
    {
      way: 'in',
      reason: 'proof_reused',
      subject: { sub: 'alice' },
      credential: expect.any(String),
      proof: expect.any(String),
    },
  ]);
});
