import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { caep, openTransmitter, risc, ssf, type SignalTransmitter } from '../fakes/signal-transmitter.ts';
import { openStreamTool, type EchoTool } from '../stage/echo-tool.ts';
import { openSignalStage, type SignalStage } from '../stage/signal-stage.ts';

let tool: EchoTool;
let transmitter: SignalTransmitter;
let stage: SignalStage;

beforeAll(async () => {
  tool = await openStreamTool();
  transmitter = await openTransmitter('/realms/corp');
  stage = await openSignalStage(tool, transmitter, {
    transmitter: (issuer) => ({ subjects: { issuers: [issuer], email: issuer } }),
  });
});
afterAll(async () => {
  await stage.close();
  await tool.close();
  await transmitter.close();
});

let users = 0;
/** A user whom no other test has. */
const newUser = (): string => `user-${(users += 1)}`;
const nowSeconds = (): number => Math.floor(Date.now() / 1000);

describe('W11: a signed event of the issuer does what the kill switch does', () => {
  test.for([
    ['session-revoked', caep],
    ['token-claims-change', caep],
    ['credential-change', caep],
    ['credential-compromise', risc],
    ['account-disabled', risc],
    ['account-purged', risc],
    ['sessions-revoked', risc],
  ] as const)('%s: streams, tokens, handles and the old token are over; others go on', async ([name, base]) => {
    const alice = newUser();
    const old = await stage.service.subjectToken({ sub: alice });
    const [task, other] = [await stage.task(alice), await stage.task('bob')];
    await stage.use(task);
    const own = stage.service.issued.at(-1) ?? '';
    await stage.use(other);
    const [cut, kept] = [await stage.stream(task), await stage.stream(other)];
    const startedAt = performance.now();
    const answer = await stage.push(transmitter.event(base + name, stage.user(alice)));
    expect([answer.status, answer.body]).toEqual([202, '']);
    expect((await stage.use(task)).code).toBe('handle_ended');
    await cut.closed;
    expect(performance.now() - startedAt).toBeLessThan(2000);
    await eventually('the token goes back', () => stage.service.revoked.includes(own));
    expect([(await stage.use(other)).status, kept.socket.destroyed]).toEqual([200, false]);
    kept.socket.destroy();
    expect(await stage.tryOpen(old)).toBe(403);
    expect(await stage.tryOpen(await stage.service.subjectToken({ sub: alice, iat: undefined }))).toBe(403);
    await sleep(1100);
    expect(await stage.tryOpen(await stage.service.subjectToken({ sub: alice }))).toBe(201);
    const by = `signal:${transmitter.issuer}`;
    const principal = { kind: 'subject', iss: stage.service.issuer, sub: alice };
    expect(stage.revocations().at(-1)).toMatchObject({ principal, cause: name, by, tasks: 1, credentials: 1 });
    const told = { issuer: transmitter.issuer, type: name, outcome: 'revoked', tasks: 1, credentials: 1 };
    expect(stage.signals().at(-1)).toMatchObject(told);
    expect(await stage.count('revoked')).toBe(stage.signals().filter(({ outcome }) => outcome === 'revoked').length);
  });

  test('a task that was opened with a token from after the event goes on, and so does its user', async () => {
    const alice = newUser();
    const at = nowSeconds() - 60;
    const before = await stage.task(alice, {
      subject_token: await stage.service.subjectToken({ sub: alice, iat: at }),
    });
    const unknown = { subject_token: await stage.service.subjectToken({ sub: alice, iat: undefined }) };
    const undated = await stage.task(alice, unknown);
    const after = await stage.task(alice);
    const event = { events: { [`${caep}session-revoked`]: { event_timestamp: at } } };
    expect((await stage.push(transmitter.event('', stage.user(alice), event))).status).toBe(202);
    expect([(await stage.use(before)).code, (await stage.use(undated)).code]).toEqual(['handle_ended', 'handle_ended']);
    expect((await stage.use(after)).status).toBe(200);
    expect(await stage.tryOpen(await stage.service.subjectToken({ sub: alice, iat: at }))).toBe(403);
    expect(await stage.tryOpen(await stage.service.subjectToken({ sub: alice, iat: at + 1 }))).toBe(201);
  });

  test.for([
    ['ahead of us', (now: number) => now + 3600],
    ['in milliseconds', (now: number) => now * 1000],
    ['left at its zero', () => 0],
  ] as const)('a time of the event that is %s counts as that of its token', async ([, timeOf]) => {
    const alice = newUser();
    const task = await stage.task(alice);
    const event = { events: { [`${caep}session-revoked`]: { event_timestamp: timeOf(nowSeconds()) } } };
    expect((await stage.push(transmitter.event('', stage.user(alice), event))).status).toBe(202);
    expect((await stage.use(task)).code).toBe('handle_ended');
    await sleep(1100);
    expect(await stage.tryOpen(await stage.service.subjectToken({ sub: alice }))).toBe(201);
  });

  test.for([
    [
      'of a session of a user',
      (user: object) => ({ format: 'complex', user, session: { format: 'opaque', id: 's1' } }),
    ],
    [
      'by one of several names',
      (user: object) => ({ format: 'aliases', identifiers: [{ format: 'phone_number', phone_number: '+1' }, user] }),
    ],
    [
      'by several names within a complex one',
      (user: object) => ({ format: 'complex', user: { format: 'aliases', identifiers: [user] } }),
    ],
    ['by a name that the configuration maps', (_: object, email: string) => ({ format: 'email', email })],
  ] as const)('%s', async ([, subjectOf]) => {
    const alice = newUser();
    const [task, other] = [await stage.task(alice), await stage.task('bob')];
    const event = transmitter.event(`${caep}session-revoked`, subjectOf(stage.user(alice), alice));
    expect((await stage.push(event)).status).toBe(202);
    expect([(await stage.use(task)).code, (await stage.use(other)).status]).toEqual(['handle_ended', 200]);
  });

  test('of one token: its task ends and it opens no other, and its user goes on', async () => {
    const alice = newUser();
    const token = await stage.service.subjectToken({ sub: alice, jti: 'token-1' });
    const [task, other] = [await stage.task(alice, { subject_token: token }), await stage.task(alice)];
    const subject = { format: 'jwt_id', iss: stage.service.issuer, jti: 'token-1' };
    expect((await stage.push(transmitter.event(`${caep}session-revoked`, subject))).status).toBe(202);
    expect([(await stage.use(task)).code, (await stage.use(other)).status]).toEqual(['handle_ended', 200]);
    expect(await stage.tryOpen(token)).toBe(403);
    await stage.sidecar.kill();
    await stage.restart();
    expect(await stage.tryOpen(token)).toBe(403);
    expect((await stage.task(alice)).handle).toMatch(/^wbh_/);
  });

  test('what it was told is kept over a kill, and was on disk before the answer', async () => {
    const alice = newUser();
    const old = await stage.service.subjectToken({ sub: alice });
    expect((await stage.push(transmitter.event(`${caep}session-revoked`, stage.user(alice)))).status).toBe(202);
    await stage.sidecar.kill();
    await stage.restart();
    expect(await stage.tryOpen(old)).toBe(403);
    expect(await stage.tryOpen(await stage.service.subjectToken({ sub: 'bob' }))).toBe(201);
  });

  test('the test of a stream is answered, and ends nothing', async () => {
    const alice = newUser();
    const task = await stage.task(alice);
    const event = { events: { [`${ssf}verification`]: { state: 'abc' } } };
    expect((await stage.push(transmitter.event('', { format: 'opaque', id: 'stream-1' }, event))).status).toBe(202);
    expect((await stage.use(task)).status).toBe(200);
    expect(stage.signals().at(-1)).toMatchObject({ type: 'verification', outcome: 'verified' });
    expect(stage.revocations().some(({ cause }) => cause === 'verification')).toBe(false);
  });
});
