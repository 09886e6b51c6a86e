import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { openFakeTokenService, type FakeTokenService } from '../fakes/token-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** Services whose tokens live as long as their name says; one of them is down from time to time. */
let short: FakeTokenService;
let shaky: FakeTokenService;
let tool: EchoTool;
let stage: Stage;

beforeAll(async () => {
  tool = await openEchoTool();
  const dir = mkdtempSync(join(tmpdir(), 'waybill-times-'));
  const secret = 'a-secret-of-short-and-shaky';
  writeFileSync(join(dir, 'secret'), secret, { mode: 0o600 });
  short = await openFakeTokenService({ secret, lifeSeconds: 2 });
  shaky = await openFakeTokenService({ secret });
  const service = ({ issuer }: FakeTokenService) => ({
    issuer,
    client_auth: 'client_secret_basic',
    client_id: 'bot',
    client_secret_file: join(dir, 'secret'),
  });
  const at = (from: string, useFor: string) => ({
    port: tool.port,
    more: { token: { from, audience: ['crm'], use_for: useFor } },
  });
  stage = await openStage({
    dir,
    tools: { crm: { port: tool.port }, quick: at('corp', '4s'), ends: at('short', '5m'), shaky: at('shaky', '5s') },
    services: { short: service(short), shaky: service(shaky) },
  });
});
afterAll(async () => {
  await stage?.close();
  await Promise.all([short.close(), shaky.close(), tool.close()]);
});

/** A task whose exchanges are told apart from those of others by its subject token. */
async function begin(claims: Record<string, unknown> = {}) {
  const subject_token = await stage.service.subjectToken(claims);
  const { txn, handle } = await stage.task('', { subject_token });
  const mark = `/${txn}`;
  return {
    txn,
    call: (name: string): Promise<RawAnswer> =>
      callThrough(stage.sidecar.addresses.outbound, `http://${name}.test${mark}`, { handle }),
    exchanges: () =>
      [stage.service, short, shaky]
        .flatMap(({ requests }) => requests)
        .filter(({ form }) => form.get('subject_token') === subject_token).length,
    /** Tokens that the tool saw from this task, in order. */
    used: () => tool.seen.filter(({ path }) => path === mark).map(({ headers }) => headers.authorization),
  };
}

const nowSeconds = (): number => Math.floor(Date.now() / 1000);

describe.concurrent('W4: a cached token ends with the first of its ends', () => {
  test('use_for: from 80 % of it on it is renewed beside the call, and nobody waits or gets an error', async () => {
    const task = await begin();
    await task.call('quick');
    await sleep(2500);
    await task.call('quick');
    expect(task.exchanges()).toBe(1);
    await sleep(950);
    // 3.45 s of 4 s: this one still goes with the old token, and the next with the new.
    await task.call('quick');
    await eventually('a new token is asked for', () => task.exchanges() === 2);
    await sleep(100);
    await task.call('quick');
    expect(task.exchanges()).toBe(2);
    const [first, second, third, fourth] = task.used();
    expect([second === first, third === first, fourth === first]).toEqual([true, true, false]);
  });

  test('use_for: after it, a call waits for a new token', async () => {
    const task = await begin();
    await task.call('quick');
    await sleep(4100);
    expect((await task.call('quick')).status).toBe(200);
    expect([task.exchanges(), new Set(task.used()).size]).toEqual([2, 2]);
    const events = readRecord(stage.sidecar.eventsFile).filter(
      (event) => event.event === 'call.admitted' && event['txn'] === task.txn,
    );
    const lives = events.map(
      ({ at, credential }) => Date.parse((credential as { expires_at: string }).expires_at) - Date.parse(String(at)),
    );
    expect(
      lives.every((life) => life > 3000 && life <= 4000),
      lives.join(),
    ).toBe(true);
    expect(events.map(({ credential }) => (credential as { from: string }).from)).toEqual(['exchange', 'exchange']);
  });

  test('the token’s own end', async () => {
    const task = await begin();
    await task.call('ends');
    await sleep(2200);
    expect((await task.call('ends')).status).toBe(200);
    expect([task.exchanges(), new Set(task.used()).size]).toEqual([2, 2]);
  });

  test('the subject token’s end: then no call passes, and nobody is asked', async () => {
    const task = await begin({ exp: nowSeconds() + 3 });
    expect((await task.call('crm')).status).toBe(200);
    await sleep(3200);
    for (const name of ['crm', 'quick', 'ends']) {
      const answer = await task.call(name);
      expect([answer.status, answer.code]).toEqual([403, 'grant_dead']);
    }
    expect([task.exchanges(), task.used().length]).toEqual([1, 1]);
  });

  test('a subject token that ended before its first exchange is not exchanged', async () => {
    // Whole seconds: with one, the token could end before its task was opened.
    const task = await begin({ exp: nowSeconds() + 2 });
    await sleep(2300);
    const answers = await Promise.all([task.call('crm'), task.call('crm'), task.call('ends')]);
    expect(answers.map(({ status, code }) => [status, code])).toEqual(answers.map(() => [403, 'grant_dead']));
    expect([task.exchanges(), task.used()]).toEqual([0, []]);
  });

  test('a refresh that fails leaves the old token in use, until its end and not beyond', async () => {
    const task = await begin();
    await task.call('shaky');
    await sleep(4300);
    shaky.lie = 'unavailable';
    expect((await task.call('shaky')).status).toBe(200);
    await sleep(100);
    expect((await task.call('shaky')).status).toBe(200);
    await sleep(700);
    const late = await task.call('shaky');
    expect([late.status, late.code, new Set(task.used()).size, task.used().length]).toEqual([
      503,
      'token_service_unavailable',
      1,
      3,
    ]);
  });
});

test('W4: a refresh that lies is refused as any other answer, and the good token stays in use', async () => {
  const task = await begin();
  await task.call('quick');
  await sleep(3450);
  stage.service.lie = 'other_sub';
  expect((await task.call('quick')).status).toBe(200);
  await eventually('a new token is asked for', () => task.exchanges() === 2);
  await sleep(100);
  stage.service.lie = undefined;
  const rejected = readRecord(stage.sidecar.eventsFile).filter(
    (event) => event.event === 'token.rejected' && event['txn'] === task.txn,
  );
  expect(rejected).toMatchObject([{ cause: 'subject' }]);
  expect(new Set(task.used()).size).toBe(1);
});
