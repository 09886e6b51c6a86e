import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openLeakStage, type LeakStage } from '../stage/leak-stage.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

let stage: LeakStage;
let handles: { readonly alice: string };

beforeAll(async () => {
  stage = await openLeakStage();
  handles = { alice: stage.alice.handle };
});
afterAll(async () => {
  await stage?.close();
});

describe('a token of ours in the query, the path, a cookie, another header, or as the key of another tool', () => {
  test('is a leak too, and the record does not hold it', async () => {
    const escaped = encodeURIComponent(stage.key);
    await stage.expectStopped({
      query: () =>
        callThrough(stage.sidecar.addresses.outbound, `http://crm.test/x?t=${stage.token}`, { handle: handles.alice }),
      path: () => callThrough(stage.sidecar.addresses.outbound, `http://open.test/${stage.token}/x`),
      'path, a static key': () =>
        callThrough(
          stage.sidecar.addresses.outbound,
          `http://open.test/${Buffer.from(stage.key).toString('base64url')}/x`,
        ),
      'query, a static key': () => callThrough(stage.sidecar.addresses.outbound, `http://open.test/x?k=${escaped}`),
      header: () => stage.call('open', { headers: { 'X-Other': `Bearer ${stage.token}` } }),
      cookie: () => stage.call('open', { headers: { Cookie: `a=b; t=${stage.token}` } }),
      base64: () => stage.call('crm', { headers: { 'X-Other': Buffer.from(`a:${stage.token}`).toString('base64') } }),
      'Authorization of another tool': () =>
        stage.call('open', { headers: { Authorization: `Bearer ${stage.token}` } }),
      'x-api-key of another tool': () => stage.call('open', { headers: { 'X-Api-Key': stage.key } }),
    });
    const record = readFileSync(stage.sidecar.eventsFile, 'latin1');
    for (const secret of [stage.token.split('.')[2] ?? '', stage.key, Buffer.from(stage.key).toString('base64url')])
      for (let at = 0; at + 16 <= secret.length; at += 1) expect(record).not.toContain(secret.slice(at, at + 16));
  });

  test('while an agent that still has the key of a tool goes on with ours', async () => {
    expect((await stage.call('keyed', { headers: { 'X-Key': stage.key } })).status).toBe(200);
  });
});

test('what only looks like a secret passes', async () => {
  const handle = handles.alice;
  const other = `wbh_AAAAAAAA${handle.slice(12)}`;
  const swapped = `${stage.token.slice(0, stage.token.lastIndexOf('.') + 1)}${randomBytes(64).toString('base64url')}`;
  const harmless = [
    other,
    swapped,
    'wbh_',
    'wbt_',
    'eyJhbGciOiJFUzI1NiJ9',
    `{"a":"${'wbh_'.repeat(5000)}"}`,
    stage.key.slice(0, 20),
  ];
  for (const body of harmless) {
    const answer = await stage.post(body);
    expect([body.slice(0, 60), answer.status]).toEqual([body.slice(0, 60), 200]);
    expect(stage.tool.seen.at(-1)?.body.toString('latin1')).toBe(body);
  }
});

test('a body under a coding that is broken, unknown or a bomb goes on as it is', async () => {
  const bomb = gzipSync(Buffer.alloc(20_000_000));
  for (const [coding, body] of [
    ['gzip', Buffer.from('this is no gzip')],
    ['x-own', Buffer.from('whatever')],
    ['gzip', bomb],
  ] as const) {
    const started = performance.now();
    expect((await stage.post(body, 'crm', { 'Content-Encoding': coding })).status).toBe(200);
    expect(stage.tool.seen.at(-1)?.body.equals(body)).toBe(true);
    expect(performance.now() - started).toBeLessThan(1000);
  }
});

test('the mark of a trace is refused where a credential of ours goes, and a store of traces may see it', async () => {
  const port = stage.tool.port;
  const wayIn = await openWayIn({
    tools: { crm: { port }, open: { port, token: false } },
    sections: { tasks: { linger: '1m' } },
  });
  try {
    const caller = await wayIn.caller();
    await caller.send();
    const { authorization, tracestate } = wayIn.program.seen[0]?.headers ?? {};
    const mark = /wbt_[\w-]+/.exec(String(tracestate))?.[0] ?? 'none';
    const send = async (path: string): Promise<(string | number | undefined)[]> => {
      const headers = { Authorization: String(authorization) };
      const body = JSON.stringify({ traceState: `waybill=${mark}` });
      const { status, code } = await callThrough(wayIn.sidecar.addresses.outbound, `http://${path}`, {
        method: 'POST',
        headers,
        body,
      });
      return [status, code];
    };
    expect(mark).toHaveLength(44);
    expect(await send('crm.test/x')).toEqual([403, 'credential_leak']);
    expect(await send('crm.test/api/v1/traces')).toEqual([200, undefined]);
    expect(await send('open.test/x')).toEqual([200, undefined]);
  } finally {
    await wayIn.close();
  }
});
