import { createHash, createPrivateKey } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openAuthority, type Authority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { signCheckpoint, type CheckpointIdentity } from '../../proxy/record/checkpoint.ts';
import { runWaybill } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStage, type Stage, type StageOptions } from '../stage/way-out-stage.ts';

type Line = Record<string, unknown>;

const spiffeId = 'spiffe://example.org/bot';
const gauge = 'waybill_event_sequence';
let tool: EchoTool;
let authority: Authority;
let workload: WorkloadApiServer;
let dir: string;
let bundle: string;

beforeAll(async () => {
  tool = await openEchoTool();
  dir = mkdtempSync(join(tmpdir(), 'waybill-record-'));
  authority = await openAuthority('example.org');
  bundle = join(dir, 'bundle.pem');
  writeFileSync(bundle, authority.bundle().x509Pem);
  const socketPath = join(dir, 'workload.sock');
  workload = await openWorkloadApiServer({ socketPath, authority, spiffeId, x509TtlSeconds: 3600, jwtTtlSeconds: 300 });
});
afterAll(async () => {
  workload?.close();
  await tool.close();
});

/** The record of a sidecar that let two calls through, and the gauge as it was scraped before its end. */
async function record(sections: StageOptions['sections'] = {}, how: 'stop' | 'kill' = 'stop') {
  const stage: Stage = await openStage({ tools: { crm: { port: tool.port } }, sections });
  const { handle } = await stage.task();
  const urls = ['http://crm.test/x', 'http://crm.test/y'];
  for (const url of urls)
    expect((await callThrough(stage.sidecar.addresses.outbound, url, { handle })).status).toBe(200);
  const scraped = await stage.sidecar.metric(gauge);
  await stage.sidecar[how]();
  const lines = readFileSync(stage.sidecar.eventsFile, 'utf8').trimEnd().split('\n');
  await stage.close();
  return { lines, scraped };
}
const withIdentity = () => record({ identity: { workload_api: `unix://${workload.socketPath}` } });

/** All lines with number and hash made anew, as somebody with write access can. */
function rechained(lines: readonly string[], change: (event: Line, at: number) => Line | undefined): string[] {
  let prev = '0'.repeat(64);
  const made: string[] = [];
  for (const [at, line] of lines.entries()) {
    const event = change(JSON.parse(line) as Line, at);
    if (event === undefined) continue;
    const text = JSON.stringify({ ...event, seq: made.length + 1, prev });
    prev = createHash('sha256').update(text).digest('hex');
    made.push(text);
  }
  return made;
}

async function verify(lines: readonly string[], ...args: string[]) {
  const file = join(dir, 'copy.jsonl');
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
  const { code, stdout } = await runWaybill(['events', 'verify', file, '--json', ...args]);
  const { boots, errors } = JSON.parse(stdout) as { boots: Line[]; errors: { reason: string; message: string }[] };
  return { code, boot: boots[0], reasons: errors.map(({ reason }) => reason), message: errors[0]?.message };
}
const edited = (event: Line): Line => (event['event'] === 'call.admitted' ? { ...event, tool: 'other' } : event);

const keyOf = (der: Buffer) => createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });

/** The lines with a change, and each checkpoint signed anew by this identity. */
function resigned(lines: readonly string[], identity: CheckpointIdentity): string[] {
  const made: string[] = [];
  let prev = '0'.repeat(64);
  for (const [at, line] of lines.entries()) {
    const event = edited(JSON.parse(line) as Line);
    const { boot, cause } = event as { boot: string; cause: 'start' | 'exit' };
    const signed = (): Line =>
      JSON.parse(`{${signCheckpoint({ boot, sequence: at, digest: prev }, cause, identity)}}`) as Line;
    const next = event['event'] === 'checkpoint' ? { boot, at: event['at'], ...signed() } : event;
    const text = JSON.stringify({ ...next, seq: at + 1, prev });
    prev = createHash('sha256').update(text).digest('hex');
    made.push(text);
  }
  return made;
}

describe('W7: what was written cannot be changed without a trace', () => {
  test('signed by the SVID, before anything passes and at the end; whole, also for who knows the bundle', async () => {
    const { lines } = await withIdentity();
    const events = lines.map((line) => JSON.parse(line) as Line);
    const firstDeed = events.findIndex(({ event }) => /^(?:call|token)/.test(String(event)));
    const checkpoints = events.filter(({ event }) => event === 'checkpoint');
    expect(checkpoints.map(({ cause, spiffe_id: id }) => [cause, id])).toEqual([
      ['start', spiffeId],
      ['exit', spiffeId],
    ]);
    expect(events.findIndex(({ event }) => event === 'checkpoint')).toBeLessThan(firstDeed);
    const whole = { code: 0, reasons: [], boot: { signed_seq: lines.length, signed_by: spiffeId, closed: true } };
    expect(await verify(lines)).toMatchObject(whole);
    expect(await verify(lines, '--bundle', bundle, '--spiffe-id', spiffeId)).toMatchObject(whole);
  });

  test('an edited line is found; so is a chain that was made anew behind it, with its checkpoints or without', async () => {
    const { lines } = await withIdentity();
    const one = lines.map((line) => (line.includes('call.admitted') ? line.replace('"crm"', '"CRM"') : line));
    expect((await verify(one)).reasons).toContain('changed');
    expect(await verify(rechained(lines, edited))).toMatchObject({ code: 1, reasons: ['signature'] });
    const adapted = rechained(lines, (event) => edited(event));
    const repaired = rechained(adapted, (event, at) => {
      if (event['event'] !== 'checkpoint' || at === 0) return event;
      const before = createHash('sha256')
        .update(adapted[at - 1] ?? '')
        .digest('hex');
      return { ...event, sequence: at, head: before };
    });
    expect((await verify(repaired)).reasons).toContain('signature');
    const bare = rechained(lines, (event) => (event['event'] === 'checkpoint' ? undefined : edited(event)));
    expect(await verify(bare)).toMatchObject({ code: 1, reasons: ['unsigned'] });
    const noKey = rechained(bare, (event) => ({ ...event, key: undefined }));
    expect(await verify(noKey, '--bundle', bundle)).toMatchObject({ code: 1, reasons: ['unsigned'] });
  });

  test('a chain that was made anew and signed by somebody else is found by who knows the bundle, or the ID', async () => {
    const { lines } = await withIdentity();
    const { chainDer, keyDer } = await (await openAuthority('example.org')).issueX509(spiffeId, 3600);
    const own = await authority.issueX509('spiffe://example.org/other', 3600);
    for (const [der, key, id, args, reason] of [
      [chainDer, keyDer, spiffeId, ['--bundle', bundle], 'signature'],
      [
        own.chainDer,
        own.keyDer,
        'spiffe://example.org/other',
        ['--bundle', bundle, '--spiffe-id', spiffeId],
        'signature',
      ],
    ] as const) {
      const identity = { spiffeId: id, chain: [der], privateKey: keyOf(key) };
      const forged = resigned(lines, identity);
      expect((await verify(forged)).code).toBe(0);
      expect((await verify(forged, ...args)).reasons).toContain(reason);
    }
  });

  test('lines that were cut off at the end are missed where the gauge is known; an end in order is told from none', async () => {
    const { lines, scraped } = await withIdentity();
    const cut = lines.slice(0, scraped - 2);
    expect(await verify(cut)).toMatchObject({ code: 0, boot: { closed: false } });
    const missed = await verify(cut, '--sequence', String(scraped));
    expect([missed.code, missed.reasons]).toEqual([1, ['behind']]);
    expect(missed.message).toContain(`${scraped} against ${scraped - 2}, 2 lines`);
    expect((await verify(lines, '--sequence', String(scraped))).code).toBe(0);
    expect((await verify([], '--sequence', '3')).reasons).toEqual(['behind']);
  });

  test('without identity the key of the boot event signs; after a kill it says how far', async () => {
    const { lines } = await record({ identity: 'none' });
    expect(await verify(lines)).toMatchObject({ code: 0, boot: { signed_by: 'key', signed_seq: lines.length } });
    expect(await verify(rechained(lines, edited))).toMatchObject({ code: 1, reasons: ['signature'] });
    expect(await verify(lines, '--bundle', bundle)).toMatchObject({ code: 1, reasons: ['unsigned'] });
    const killed = await record({ identity: 'none' }, 'kill');
    const report = await verify(killed.lines);
    expect(report).toMatchObject({ code: 0, boot: { closed: false } });
    expect(report.boot?.['signed_seq']).toBeLessThan(killed.lines.length);
  });
});

test('W7: a boot that was taken out, boots in another order, a line behind the signed end, and no line at all are found', async () => {
  const stage = await openStage({ tools: { crm: { port: tool.port } }, sections: { identity: 'none' } });
  await stage.sidecar.stop();
  for (let count = 0; count < 2; count += 1) await (await stage.restart()).stop();
  const lines = readFileSync(stage.sidecar.eventsFile, 'utf8').trimEnd().split('\n');
  await stage.close();
  const boots = [...Map.groupBy(lines, (line) => (JSON.parse(line) as Line)['boot']).values()];
  const [one = [], two = [], three = []] = boots;
  expect(boots).toHaveLength(3);
  const last = three.at(-1) ?? '';
  const { seq, boot, at } = JSON.parse(last) as Line;
  const prev = createHash('sha256').update(last).digest('hex');
  const forged = JSON.stringify({ seq: Number(seq) + 1, boot, prev, at, event: 'call.admitted', id: 'x', attempt: 1 });
  for (const [reasons, ...parts] of [
    [[], one, two, three],
    [['missing'], one, three],
    [['order'], three, one, two],
    [['missing'], one, three, two],
    [['end'], one, two, three, [forged]],
    [['start']],
  ] as const) {
    const { code, reasons: found } = await verify(parts.flat());
    expect([code, found]).toEqual([reasons.length === 0 ? 0 : 1, reasons]);
  }
});

test('what cannot be understood verifies nothing', async () => {
  writeFileSync(join(dir, 'copy.jsonl'), '');
  for (const args of [
    ['--sequence', 'x'],
    ['--sequence', '-1'],
    ['--spiffe-id', spiffeId],
    ['--bundle', join(dir, 'none')],
  ])
    expect((await runWaybill(['events', 'verify', join(dir, 'copy.jsonl'), ...args])).code).toBe(64);
  expect(await runWaybill(['events', 'verify', dir])).toMatchObject({
    code: 64,
    stdout: '',
    stderr: `waybill events: ${dir} cannot be read (EISDIR)\n`,
  });
});
