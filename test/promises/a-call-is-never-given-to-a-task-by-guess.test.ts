import { readFileSync } from 'node:fs';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { basic, exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let alice: StagedTask;
let bob: StagedTask;
let carol: StagedTask;

beforeAll(async () => {
  tool = await openEchoTool();
  const { port } = tool;
  stage = await openStage({
    tools: {
      crm: { port },
      files: { port },
      keyed: { port, more: { handle_header: 'X-Crm-Key' } },
      open: { port, token: false },
    },
  });
  alice = await stage.task('alice');
  bob = await stage.task('bob');
  carol = await stage.task('carol', { handles: 'per_tool' });
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});

const outbound = (): string => stage.sidecar.addresses.outbound;
const base64 = (text: string): string => Buffer.from(text).toString('base64');

function send(headers: Record<string, string>, host = 'crm.test'): Promise<RawAnswer> {
  return exchangeRaw(outbound(), requestBytes('GET', `http://${host}/x`, { Host: host, ...headers }));
}

/** For whom the tool was called last. */
function lastSubject(): string {
  return decodeJwt((tool.seen.at(-1)?.headers.authorization ?? '').replace(/^\w+ /, '')).sub ?? '';
}

const replays = (reason: string, grade: string) =>
  stage.sidecar.metric(`waybill_replays_blocked_total{way="out",reason="${reason}",grade="${grade}"}`);

describe('W11: a handle is found in every form that clients make of it', () => {
  const forms: Record<string, (handle: string) => Record<string, string>> = {
    Bearer: (handle) => ({ Authorization: `Bearer ${handle}` }),
    'bearer in another case, more spaces': (handle) => ({ authorization: `bEARER    ${handle}` }),
    raw: (handle) => ({ Authorization: handle }),
    'token scheme': (handle) => ({ Authorization: `token ${handle}` }),
    'Basic, as password': (handle) => ({ Authorization: `Basic ${base64(`x:${handle}`)}` }),
    'Basic, as user': (handle) => ({ Authorization: `Basic ${base64(`${handle}:`)}` }),
    'Basic, as user beside a password': (handle) => ({ Authorization: `Basic ${base64(`${handle}:x-oauth-basic`)}` }),
    'Basic, percent-encoded inside': (handle) => ({
      Authorization: `Basic ${base64(`task:${handle.replaceAll('_', '%5F')}`)}`,
    }),
    'Basic without padding': (handle) => ({ Authorization: `Basic ${base64(`xy:${handle}`).replace(/=+$/, '')}` }),
    'x-api-key': (handle) => ({ 'X-API-Key': handle }),
    'x-api-key with Bearer': (handle) => ({ 'x-api-key': `Bearer ${handle}` }),
    'percent-encoded': (handle) => ({
      'x-api-key': Buffer.from(handle).toString('hex').replaceAll(/../g, '%$&'),
    }),
    base64: (handle) => ({ 'x-api-key': base64(handle) }),
    base64url: (handle) => ({ Authorization: `Bearer ${Buffer.from(handle).toString('base64url')}` }),
    'Proxy-Authorization': (handle) => ({ 'Proxy-Authorization': basic(handle) }),
    'Proxy-Authorization of another user': (handle) => ({
      'proxy-authorization': `Basic ${base64(`anybody:${handle}`)}`,
    }),
    'Proxy-Authorization, Bearer': (handle) => ({ 'Proxy-Authorization': `Bearer ${handle}` }),
    'the same in two places': (handle) => ({
      Authorization: `Bearer ${handle}`,
      'x-api-key': handle,
      'Proxy-Authorization': basic(handle),
    }),
    'beside a dummy key': (handle) => ({ Authorization: 'Bearer sk-dummy', 'x-api-key': handle }),
  };
  test.for(Object.keys(forms))('%s', async (form) => {
    for (const [task, sub] of [
      [alice, 'alice'],
      [bob, 'bob'],
    ] as const) {
      const answer = await send(forms[form]?.(task.handle) ?? {});
      expect([answer.status, lastSubject()]).toEqual([200, sub]);
      expect(JSON.stringify(tool.seen.at(-1)?.rawHeaders)).not.toMatch(/wbh_|sk-dummy/);
    }
  });

  test('a header that a tool names, at that tool alone', async () => {
    expect([(await send({ 'x-CRM-key': alice.handle }, 'keyed.test')).status, lastSubject()]).toEqual([200, 'alice']);
    expect((await send({ 'X-Crm-Key': alice.handle })).code).toBe('task_unknown');
  });

  test('and nowhere else: in other headers, cookies, the query or the path it is a leak, and does not leave', async () => {
    const { handle } = alice;
    const places: Record<string, string>[] = [
      { 'X-Handle': handle },
      { Cookie: `session=${handle}` },
      { 'X-Authorization': `Bearer ${handle}` },
      { tracestate: `other=${handle}` },
      { 'X-Twice': `wbh_${handle}` },
      { 'X-Basic': basic(handle) },
      { 'X-Glued': `k${Buffer.from(`ab${handle}`).toString('base64url')}z` },
    ];
    const before = await replays('credential_leak', 'proven');
    for (const headers of places) expect([headers, (await send(headers)).code]).toEqual([headers, 'credential_leak']);
    // In a spelling that tools fold into ours, a name is dropped and never read, and so is our own member of tracestate.
    for (const headers of [
      { X_Api_Key: handle },
      { Proxy_Authorization: basic(handle) },
      { tracestate: `waybill=${handle}` },
    ] as Record<string, string>[]) {
      expect([headers, (await send(headers)).code]).toEqual([headers, 'task_unknown']);
    }
    const escaped = handle.replace('wbh_', '%77bh%5f');
    const targets = [
      `/${handle}`,
      `/wbh_${handle}`,
      `/wbh_${'a'.repeat(20)}${handle}`,
      `/x?token=${handle}`,
      `/${escaped}`,
      `/a/${handle}/b?c=d`,
    ];
    for (const target of targets) {
      const sent = requestBytes('GET', `http://crm.test${target}`, { Host: 'crm.test' });
      expect([target, (await exchangeRaw(outbound(), sent)).code]).toEqual([target, 'credential_leak']);
    }
    // With the right handle in its place as well: the tool would get the other one all the same.
    expect((await send({ Authorization: `Bearer ${handle}`, 'X-Handle': handle })).code).toBe('credential_leak');
    expect(await replays('credential_leak', 'proven')).toBe(before + places.length + targets.length + 1);
    // A call that is refused for another reason, or that carries a handle of an earlier process, is recorded without it as well.
    const old = `wbh_AAAAAAAA${handle.slice(12)}`;
    for (const target of [
      `http://unlisted.test/${handle}`,
      `http://crm.test/${old}`,
      `http://crm.test/%77bh%5f${old.slice(4)}`,
    ])
      await exchangeRaw(outbound(), requestBytes('GET', target, { Host: new URL(target).host }));
    await exchangeRaw(outbound(), requestBytes('GET', `http://crm.test//${handle}`, { Host: 'crm.test' }));
    await exchangeRaw(
      outbound(),
      requestBytes('GET', `http://crm.test/${handle}`, { Host: 'crm.test', Authorization: 'Bearer wbh_' }),
    );
    const record = readFileSync(stage.sidecar.eventsFile, 'utf8');
    for (const part of [handle.slice(4, 20), handle.slice(12, 28)]) expect(record).not.toContain(part);
  });
});

describe('W11: a wrong handle refuses, and a call with two tasks belongs to neither', () => {
  test('unknown, cut, lengthened or changed handles', async () => {
    const { handle } = alice;
    const swapped = handle.slice(0, -1) + (handle.endsWith('A') ? 'B' : 'A');
    const before = await replays('handle_unknown', 'suspected');
    const wrong = [
      swapped,
      handle.slice(0, -1),
      `${handle}A`,
      `${handle} `.trim() + '=',
      handle.slice(0, 4),
      `wbh_${'A'.repeat(200)}`,
      'wbh_',
      `${handle},${handle}`,
      handle.replace('wbh_', 'wbh__'),
    ];
    const tried = [];
    for (const value of wrong)
      for (const headers of [{ Authorization: `Bearer ${value}` }, { 'Proxy-Authorization': basic(value) }])
        tried.push({ what: JSON.stringify(headers), answer: await send(headers) });
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'handle_unknown', 'handle_previous_process');
    const unknown = tried.filter(({ answer }) => answer.code === 'handle_unknown').length;
    expect(await replays('handle_unknown', 'suspected')).toBe(before + unknown);
    const old = await send({ Authorization: `Bearer wbh_AAAAAAAA${handle.slice(12)}` });
    expect([old.status, old.code]).toEqual([403, 'handle_previous_process']);
  });

  test('two tasks in one call, in any two places, also through a tunnel', async () => {
    const [a, b] = [alice.handle, bob.handle];
    const both: Record<string, string>[] = [
      { Authorization: `Bearer ${a}`, 'Proxy-Authorization': basic(b) },
      { Authorization: `Bearer ${a}`, 'x-api-key': b },
      { 'x-api-key': a, 'Proxy-Authorization': basic(b) },
      { Authorization: `Bearer ${a}`, 'x-api-key': a, 'Proxy-Authorization': basic(b) },
      { Authorization: `Bearer ${a}`, 'Proxy-Authorization': basic(carol.handles['crm'] ?? '') },
    ];
    const [seen, asked] = [tool.seen.length, stage.service.counts.token];
    const tried = [];
    for (const headers of both) tried.push({ what: Object.keys(headers).join(), answer: await send(headers) });
    const inside = { headers: { Host: 'crm.test', Authorization: `Bearer ${b}` } };
    tried.push({ what: 'tunnel', answer: await callInTunnel(outbound(), 'crm.test:80', { handle: a }, inside) });
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'task_conflict');
    expect([tool.seen.length, stage.service.counts.token]).toEqual([seen, asked]);
  });

  test('one handle twice in one header’s name is two readings', async () => {
    const lines = [
      `GET http://crm.test/ HTTP/1.1`,
      'Host: crm.test',
      `Authorization: Bearer ${alice.handle}`,
      `Authorization: Bearer ${bob.handle}`,
    ];
    const answer = await exchangeRaw(outbound(), Buffer.from(`${lines.join('\r\n')}\r\n\r\n`));
    expect([answer.status, answer.code]).toEqual([400, 'message_malformed']);
  });
});
