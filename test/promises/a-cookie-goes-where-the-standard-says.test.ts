import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openCookieStage, type CookieStage } from '../stage/cookie-stage.ts';
import { callThrough } from '../stage/raw-call.ts';

let stage: CookieStage;

beforeAll(async () => {
  stage = await openCookieStage();
});
afterAll(async () => {
  await stage?.close();
});
beforeEach(async () => {
  stage.say = () => ({});
  stage.current = await stage.task('alice');
});

describe('RFC 6265bis: what goes with which call', () => {
  test('paths, and the order of them', async () => {
    await stage.set('crm', ['a=1; Path=/', 'b=2; Path=/api', 'c=3; Path=/api/v1', 'd=4'], '/api/login');
    expect(await stage.sentTo('crm', '/')).toBe('a=1');
    expect(await stage.sentTo('crm', '/api')).toBe('b=2; d=4; a=1');
    expect(await stage.sentTo('crm', '/api/v1/x?y=/')).toBe('c=3; b=2; d=4; a=1');
    expect(await stage.sentTo('crm', '/apis')).toBe('a=1');
  });

  test('expiry, by Max-Age from the answer on, and by date', async () => {
    const soon = new Date(Date.now() + 2000).toUTCString();
    await stage.set('crm', [
      'age=1; Max-Age=1',
      `date=1; Expires=${soon}`,
      'long=1; Max-Age=60',
      'both=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
    ]);
    expect(await stage.sentTo('crm')).toBe('age=1; date=1; long=1; both=1');
    for (let at = 0; at < 4; at += 1) {
      await sleep(300);
      if (at < 2) await stage.sentTo('crm');
    }
    expect(await stage.sentTo('crm')).not.toContain('age=1; date');
    await sleep(1000);
    expect(await stage.sentTo('crm')).toBe('long=1; both=1');
  });

  test('deletion and change by the tool', async () => {
    await stage.set('crm', ['a=1', 'b=1', 'c=1']);
    await stage.set('crm', ['a=; Max-Age=0', 'b=2', 'c=; Expires=Thu, 01 Jan 1970 00:00:00 GMT']);
    expect(await stage.sentTo('crm')).toBe('b=2');
  });

  test('foreign domains, public suffixes, prefixes and what is secure', async () => {
    await stage.set('files', [
      'own=1',
      'sub=1; Domain=crm.test',
      'foreign=1; Domain=other.test',
      'suffix=1; Domain=test',
      '__Host-a=1',
      '__Secure-b=1',
      'plain=1; Secure',
    ]);
    expect(await stage.sentTo('files')).toBe('own=1; sub=1');
    stage.say = () => ({
      headers: [
        ['Set-Cookie', 's=1; Secure'],
        ['Set-Cookie', '__Host-h=1; Secure; Path=/'],
      ],
    });
    const to = { handle: stage.current.handle };
    const { outbound } = stage.sidecar.addresses;
    const origin = `http://${outbound}/tools/secure/`;
    for (let at = 0; at < 2; at += 1)
      await callThrough(outbound, origin, { headers: { Authorization: `Bearer ${to.handle}` } });
    expect(stage.secure.seen).toHaveLength(2);
    expect(stage.secure.seen.at(-1)?.headers.cookie).toBe('s=1; __Host-h=1');
  });

  test('the oldest goes when there are too many, or too much; nonsense is left out', async () => {
    await stage.set(
      'crm',
      Array.from({ length: 60 }, (_, at) => `n${at}=1`),
    );
    expect(await stage.sentTo('crm')).toBe(Array.from({ length: 50 }, (_, at) => `n${at + 10}=1`).join('; '));
    await stage.set('crm', [
      `big=${'x'.repeat(4094)}`,
      `ok=${'y'.repeat(4000)}`,
      '=',
      ';',
      `t=1; Path=/${'p'.repeat(9000)}`,
    ]);
    expect(await stage.sentTo('crm')).toMatch(/^n11=1; .*; ok=y{4000}$/);
    for (let at = 0; at < 6; at += 1) await stage.set('crm', [`big${at}=${'z'.repeat(3000)}`]);
    const kept = await stage.sentTo('crm');
    expect([kept.length < 8000, kept.includes('big5'), kept.includes('big1')]).toEqual([true, true, false]);
  });
});
