import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { caep, openTransmitter, type SignalTransmitter, signalAudience, ssf } from '../fakes/signal-transmitter.ts';
import { openStreamTool, type EchoTool } from '../stage/echo-tool.ts';
import { forgedSignals, type SignalAttack, unfitSignals } from '../stage/signal-attacks.ts';
import { openSignalStage, type SignalStage } from '../stage/signal-stage.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';

const type = `${caep}session-revoked`;
const agreed = 'Bearer agreed-with-the-transmitter';
let tool: EchoTool;
let transmitter: SignalTransmitter;
/** It must send what was agreed in `Authorization`. */
let known: SignalTransmitter;
/** It may speak of its own subjects only. */
let modest: SignalTransmitter;
let stage: SignalStage;
let dir: string;
let task: StagedTask;

beforeAll(async () => {
  tool = await openStreamTool();
  [transmitter, known, modest] = [await openTransmitter(), await openTransmitter(), await openTransmitter()];
  dir = mkdtempSync(join(tmpdir(), 'waybill-signals-'));
  writeFileSync(join(dir, 'agreed'), `${agreed}\n`);
  stage = await openSignalStage(tool, transmitter, {
    dir,
    more: (issuer) => [
      {
        issuer: known.issuer,
        audience: ['https://elsewhere.example.org', signalAudience],
        authorization_file: join(dir, 'agreed'),
        subjects: { issuers: [issuer] },
      },
      { issuer: modest.issuer, audience: signalAudience, jwks_uri: `${modest.issuer}/jwks` },
    ],
  });
  task = await stage.task('alice');
  await stage.use(task);
});
afterAll(async () => {
  await stage.close();
  await tool.close();
  for (const each of [transmitter, known, modest]) await each.close();
});

/** What was open goes on, what was issued opens tasks, and nothing was revoked. */
async function expectNothingDone(since: number): Promise<void> {
  expect((await stage.use(task)).status).toBe(200);
  expect(stage.revocations().length).toBe(since);
}

async function expectEachRefused(attacks: readonly SignalAttack[]): Promise<void> {
  const [since, counted, stream] = [stage.revocations().length, await stage.count('refused'), await stage.stream(task)];
  for (const { what, token, err } of attacks) {
    const answer = await stage.push(token);
    expect([answer.status, answer.err], what).toEqual([400, err]);
    expect(answer.headers, what).toMatchObject({ 'content-type': 'application/json', 'content-language': 'en' });
    const told = stage.signals().at(-1);
    expect(told, what).toMatchObject({ outcome: 'refused', cause: err });
  }
  await expectNothingDone(since);
  expect(stream.socket.destroyed).toBe(false);
  stream.socket.destroy();
  expect(await stage.count('refused')).toBe(counted + attacks.length);
}

test('W11: an event that its transmitter did not sign revokes nobody', async () => {
  const attacks = forgedSignals(transmitter, stage.user('alice'));
  expect(attacks.length).toBeGreaterThan(10);
  await expectEachRefused(attacks);
  // Nothing that a token names was asked for, and an unknown key at most once in ten seconds.
  expect(transmitter.asked.filter((path) => path !== '/jwks')).toEqual(['/.well-known/ssf-configuration']);
  expect(transmitter.asked.length).toBeLessThanOrEqual(4);
});

test('W11: what a transmitter signed revokes nobody if it is no event for here, now, and of its own subjects', async () => {
  const attacks = unfitSignals(transmitter, stage.user('alice'));
  expect(attacks.length).toBeGreaterThan(40);
  await expectEachRefused(attacks);
});

test('W11: a transmitter speaks of its own subjects only, unless the configuration says more', async () => {
  const token = modest.event(type, stage.user('alice'));
  await expectEachRefused([{ what: 'of a user of another issuer', token, err: 'access_denied' }]);
  const own = modest.event(type, { format: 'iss_sub', iss: modest.issuer, sub: 'alice' });
  expect((await stage.push(own)).status).toBe(202);
  expect(stage.revocations().at(-1)).toMatchObject({ principal: { iss: modest.issuer, sub: 'alice' }, tasks: 0 });
  // Of several names only its own count.
  const both = [stage.user('alice'), { format: 'iss_sub', iss: modest.issuer, sub: 'alice' }];
  expect((await stage.push(modest.event(type, { format: 'aliases', identifiers: both }))).status).toBe(202);
  expect(stage.revocations().at(-1)).toMatchObject({ principal: { iss: modest.issuer, sub: 'alice' } });
  expect((await stage.use(task)).status).toBe(200);
});

test('W11: whoever signs for another one is that one to nobody', async () => {
  const claims = transmitter.claims(type, stage.user('alice'));
  const stolen = signedBy(modest, claims);
  await expectEachRefused([{ what: 'signed by another transmitter', token: stolen, err: 'invalid_key' }]);
});

const signedBy = (other: SignalTransmitter, claims: object): string => other.token(claims, {}, other.key);

test('W11: without what was agreed for Authorization nothing is done, and the file may change', async () => {
  const token = (): string => known.event(type, stage.user('bob'));
  const bob = await stage.task('bob');
  const wrong = [
    undefined,
    '',
    'Bearer',
    'Bearer wrong',
    agreed.slice(0, -1),
    `${agreed}x`,
    agreed.replace('Bearer ', ''),
  ];
  for (const authorization of wrong) {
    const answer = await stage.push(token(), { headers: authorization === undefined ? {} : { authorization } });
    expect([answer.status, answer.err], String(authorization)).toEqual([400, 'authentication_failed']);
  }
  // A stranger's guess costs nobody a request for keys.
  expect(known.asked).toEqual([]);
  writeFileSync(join(dir, 'agreed'), 'Bearer agreed-anew-0123456789');
  expect((await stage.push(token(), { headers: { authorization: agreed } })).err).toBe('authentication_failed');
  rmSync(join(dir, 'agreed'));
  expect((await stage.push(token(), { headers: { authorization: agreed } })).status).toBe(503);
  writeFileSync(join(dir, 'agreed'), '');
  expect((await stage.push(token(), { headers: { authorization: '' } })).status).toBe(503);
  expect((await stage.use(bob)).status).toBe(200);
  writeFileSync(join(dir, 'agreed'), agreed);
  expect((await stage.push(token(), { headers: { authorization: agreed } })).status).toBe(202);
  expect((await stage.use(bob)).code).toBe('handle_ended');
});

test('W11: an event that comes again is acknowledged, and ends nothing that was opened since, also after a restart', async () => {
  const event = transmitter.event(type, stage.user('carol'));
  expect((await stage.push(event)).status).toBe(202);
  await sleep(1100);
  const since = await stage.task('carol');
  const revocations = stage.revocations().length;
  for (let times = 0; times < 3; times++) expect((await stage.push(event)).status).toBe(202);
  expect((await stage.use(since)).status).toBe(200);
  expect([stage.revocations().length, await stage.count('repeated')]).toEqual([revocations, 3]);
  expect(stage.signals().at(-1)).toMatchObject({ type: 'session-revoked', outcome: 'repeated' });
  await stage.sidecar.stop();
  await stage.restart();
  const later = await stage.task('carol');
  expect((await stage.push(event)).status).toBe(202);
  expect((await stage.use(later)).status).toBe(200);
  task = await stage.task('alice');
});

test('a refused event does not spend the name of a good one', async () => {
  const claims = transmitter.claims(type, stage.user('dora'));
  const dora = await stage.task('dora');
  expect((await stage.push(transmitter.token({ ...claims, aud: 'https://other.example.org' }))).status).toBe(400);
  expect((await stage.push(transmitter.token(claims, {}, transmitter.foreignKey))).status).toBe(400);
  expect((await stage.use(dora)).status).toBe(200);
  expect((await stage.push(transmitter.token(claims))).status).toBe(202);
  expect((await stage.use(dora)).code).toBe('handle_ended');
});

test('W1: what could not be kept on disk is not acknowledged, and is done whole when it comes again', async () => {
  const eve = await stage.task('eve');
  const event = transmitter.event(type, stage.user('eve'));
  const part = join(dir, 'revocations.json.part');
  mkdirSync(part);
  const answer = await stage.push(event);
  expect([answer.status, answer.body, answer.headers['retry-after']]).toEqual([503, '', '1']);
  expect(stage.signals().at(-1)).toMatchObject({ outcome: 'failed', cause: 'revocation_not_kept' });
  // What has to end has ended, whatever the disk does.
  expect((await stage.use(eve)).code).toBe('handle_ended');
  rmSync(part, { recursive: true });
  expect((await stage.push(event)).status).toBe(202);
  expect(stage.signals().at(-1)).toMatchObject({ outcome: 'revoked' });
});

test('W1: while the keys of a transmitter cannot be had nothing is believed, and it has to send again', async () => {
  const fresh = await openTransmitter();
  fresh.isUp = false;
  const other = await openSignalStage(tool, fresh);
  try {
    const event = fresh.event(type, other.user('alice'));
    const alice = await other.task('alice');
    expect((await other.push(event)).status).toBe(503);
    expect([(await other.use(alice)).status, await other.count('failed')]).toEqual([200, 1]);
    fresh.isUp = true;
    await sleep(1100);
    expect((await other.push(event)).status).toBe(202);
    expect((await other.use(alice)).code).toBe('handle_ended');
    const outcomes = ['revoked', 'repeated', 'ignored', 'verified', 'refused', 'failed'];
    const metrics = await other.sidecar.metrics();
    for (const outcome of outcomes) expect(metrics).toContain(`waybill_signals_total{outcome="${outcome}"} `);
  } finally {
    await other.close();
    await fresh.close();
  }
});

test.for([
  ['a name without issuer', type, { format: 'email', email: 'alice' }, 'subject'],
  ['an opaque name', type, { format: 'opaque', id: 'alice' }, 'subject'],
  ['a format that nobody knows', type, { format: 'new', iss: 'x', sub: 'alice' }, 'subject'],
  ['a device', type, { format: 'complex', device: { format: 'opaque', id: 'd' } }, 'subject'],
  ['another type of event', `${caep}session-established`, undefined, 'type'],
  ['a pause of the stream', `${ssf}stream-updated`, { format: 'opaque', id: 's' }, 'type'],
] as const)('%s is taken, told as ignored, and revokes nobody', async ([, uri, subject, cause]) => {
  const [since, counted] = [stage.revocations().length, await stage.count('ignored')];
  const unmapped = await stage.sidecar.metric('waybill_signals_unmapped_total');
  expect((await stage.push(transmitter.event(uri, subject ?? stage.user('alice')))).status).toBe(202);
  expect(stage.signals().at(-1)).toMatchObject({ outcome: 'ignored', cause });
  await expectNothingDone(since);
  expect(await stage.count('ignored')).toBe(counted + 1);
  const isUnmapped = cause === 'subject' ? 1 : 0;
  expect(await stage.sidecar.metric('waybill_signals_unmapped_total')).toBe(unmapped + isUnmapped);
  expect(stage.sidecar.output().includes('not mapped here')).toBe(cause === 'subject' || counted > 0);
});
