import { createHash } from 'node:crypto';
import { calculateJwkThumbprint, decodeJwt, EmbeddedJWK, jwtVerify } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { answerEcho, openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { readRecord, type RecordedEvent } from '../stage/event-record.ts';
import { basic, callThrough, exchangeRaw, type RawAnswer } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

/** What the tool answers, by how many calls came since the test began; undefined is a plain 200. */
type Script = (count: number) => { status: number; headers: Record<string, string | string[]> } | undefined;

let tool: EchoTool;
let stage: Stage;
let task: StagedTask;
let script: Script;
let from: number;

const nonceChallenge = (nonce: string) => ({
  status: 401,
  headers: {
    'DPoP-Nonce': nonce,
    'WWW-Authenticate': 'DPoP algs="ES256", error="use_dpop_nonce", error_description="nonce"',
  },
});

beforeAll(async () => {
  tool = await openEchoTool({
    answer: (seenCall, response) => {
      const said = script(tool.seen.length - 1 - from);
      if (said === undefined) answerEcho(seenCall, response);
      else response.writeHead(said.status, said.headers).end('what the tool says');
    },
  });
  // One host for each test: nonces are kept by origin.
  const names = ['once', 'ever', 'rotates', 'streams', 'both', 'other', 'counted', 'counted-not'];
  stage = await openStage({
    service: { demandNonce: true },
    tools: Object.fromEntries(names.map((name) => [name, { port: tool.port, proof: 'dpop' as const }])),
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});
beforeEach(() => {
  from = tool.seen.length;
  script = () => undefined;
});

const seen = (): SeenCall[] => tool.seen.slice(from);

function call(name: string, options: Parameters<typeof callThrough>[2] = {}): Promise<RawAnswer> {
  return callThrough(stage.sidecar.addresses.outbound, `http://${name}.test/v1/pay?amount=3`, {
    handle: task.handle,
    ...options,
  });
}

/** The proof of a call as the tool got it, verified with the key that it brings and that the token is bound to. */
async function proofOf({ headers }: SeenCall) {
  const [scheme, token = ''] = (headers.authorization ?? '').split(' ');
  const { payload, protectedHeader } = await jwtVerify(String(headers['dpop']), EmbeddedJWK, { typ: 'dpop+jwt' });
  const { cnf } = decodeJwt<{ cnf: { jkt: string } }>(token);
  const jwk = protectedHeader.jwk ?? { kty: '' };
  expect([scheme, cnf.jkt, Object.hasOwn(jwk, 'd')]).toEqual(['DPoP', await calculateJwkThumbprint(jwk), false]);
  expect(payload['ath']).toBe(createHash('sha256').update(token).digest('base64url'));
  return payload;
}

async function eventsOf(path: string, count: number): Promise<RecordedEvent[]> {
  let found: RecordedEvent[] = [];
  await eventually(`${count} events`, () => {
    const all = readRecord(stage.sidecar.eventsFile);
    const ids = new Set(
      all.filter(({ target }) => (target as { host?: string } | undefined)?.host === path).map(({ id }) => id),
    );
    found = all.filter(({ id }) => id !== undefined && ids.has(id));
    return found.length >= count;
  });
  return found;
}

describe('W7: a tool that wants a nonce gets it by one second send, with an admission and a proof of its own', () => {
  test('and the agent sees nothing of it', async () => {
    script = (count) => (count === 0 ? nonceChallenge('n-1') : undefined);
    const answer = await call('once', { method: 'POST', body: '{"amount":3}' });
    expect([answer.status, seen().length]).toEqual([200, 2]);
    expect(answer.lines.join('\n')).not.toMatch(/nonce|www-authenticate/i);
    const [first, second] = [await proofOf(seen()[0]!), await proofOf(seen()[1]!)];
    expect([first['nonce'], second['nonce'], first.jti === second.jti]).toEqual([undefined, 'n-1', false]);
    for (const proof of [first, second]) expect(proof).toMatchObject({ htm: 'POST', htu: 'http://once.test/v1/pay' });
    expect(seen().map(({ path, body }) => `${path} ${String(body)}`)).toEqual(
      Array(2).fill('/v1/pay?amount=3 {"amount":3}'),
    );
    const events = await eventsOf('once.test', 4);
    expect(events.map(({ event, attempt }) => `${event} ${String(attempt)}`)).toEqual([
      'call.admitted 1',
      'call.ended 1',
      'call.admitted 2',
      'call.ended 2',
    ]);
    expect(new Set(events.map(({ id }) => id)).size).toBe(1);
    const ids = events.flatMap(({ proof }) => (proof as { id: string } | undefined)?.id ?? []);
    expect(ids).toEqual([first.jti, second.jti]);
  });

  test('its newest nonce is used from then on, for this origin and for no other server', async () => {
    script = (count) =>
      count === 0 ? nonceChallenge('n-1') : { status: 200, headers: { 'DPoP-Nonce': `after-${count}` } };
    for (let at = 0; at < 3; at += 1) expect((await call('rotates')).status).toBe(200);
    const nonces = await Promise.all(seen().map(async (one) => (await proofOf(one))['nonce']));
    expect(nonces).toEqual([undefined, 'n-1', 'after-1', 'after-2']);
    await call('other');
    expect((await proofOf(seen().at(-1)!))['nonce']).toBeUndefined();
    const toService = stage.service.requests.flatMap(({ proof }) => {
      const nonce = proof?.['nonce'];
      return typeof nonce === 'string' ? [nonce] : [];
    });
    expect(toService.length).toBeGreaterThan(0);
    expect(toService.filter((nonce) => /^(?:n-1|after-)/.test(nonce) || nonces.includes(nonce))).toEqual([]);
  });

  test('a tool that is never content is left after the second send', async () => {
    script = (count) => nonceChallenge(`n-${count}`);
    const answer = await call('ever');
    expect([answer.status, answer.code, seen().length]).toEqual([502, 'credential_refused', 2]);
    expect(answer.lines.join('\n')).not.toMatch(/nonce|www-authenticate/i);
  });

  test('a body that cannot be sent twice is not, and the next call has the nonce', async () => {
    const large = Buffer.alloc(200_000, 'x');
    script = (count) => (count === 0 ? nonceChallenge('n-1') : undefined);
    const answer = await call('streams', { method: 'POST', body: large });
    expect([answer.status, answer.code, seen().length]).toEqual([502, 'credential_refused', 1]);
    const again = await call('streams', { method: 'POST', body: large });
    expect([again.status, seen().length, (await proofOf(seen()[1]!))['nonce']]).toEqual([200, 2, 'n-1']);
    expect(seen()[1]?.body.equals(large)).toBe(true);
  });

  test('a chunked body that trickles is not sent twice either', async () => {
    script = (count) => (count === 0 ? nonceChallenge('n-9') : undefined);
    const { outbound } = stage.sidecar.addresses;
    const head = `POST http://streams.test/v1/pay HTTP/1.1\r\nHost: streams.test\r\nProxy-Authorization: ${basic(task.handle)}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const chunk = `10000\r\n${'y'.repeat(65_536)}\r\n`;
    const answer = await exchangeRaw(outbound, Buffer.from(`${head}${chunk}${chunk}0\r\n\r\n`));
    expect([answer.status, answer.code, seen().length]).toEqual([502, 'credential_refused', 1]);
  });

  test('one challenge after the other is one too many', async () => {
    script = (count) =>
      count === 0
        ? nonceChallenge('n-1')
        : { status: 401, headers: { 'WWW-Authenticate': 'DPoP error="invalid_token"' } };
    const answer = await call('both');
    expect([answer.status, answer.code, seen().length]).toEqual([502, 'credential_refused', 2]);
  });
});

test.for([
  ['counted', 'ok', 'small', 2],
  // The second answer is no better, and the call ends with it.
  ['counted', 'upstream_error', 'small', 2],
  // Sent once: there is no second answer to end it.
  ['counted-not', 'upstream_error', 'x'.repeat(200_000), 1],
] as const)('at %s a call that ends %s is one call in the metrics', async ([name, outcome, body, sends]) => {
  const { sidecar } = stage;
  const outcomes = ['ok', 'upstream_error', 'aborted', 'cut', 'refused'];
  const series = [
    ...outcomes.map((one) => `waybill_requests_total{way="out",tool="${name}",outcome="${one}"}`),
    ...['total', 'forward'].map((part) => `waybill_request_duration_seconds_count{way="out",stage="${part}"}`),
  ];
  const read = () => Promise.all(series.map((one) => sidecar.metric(one)));
  script = (count) => (count === 0 || outcome !== 'ok' ? nonceChallenge(`n-${outcome}-${count}`) : undefined);
  const before = await read();
  const { status } = await call(name, { method: 'POST', body });
  expect([status, seen().length]).toEqual([outcome === 'ok' ? 200 : 502, sends]);
  const after = await read();
  expect(after.map((value, at) => value - (before[at] ?? 0))).toEqual([
    ...outcomes.map((one) => Number(one === outcome)),
    1,
    1,
  ]);
});

describe('W1: what is no challenge to us is the agent’s answer, and is asked once', () => {
  test.for([
    ['insufficient scope', 403, { 'WWW-Authenticate': 'Bearer error="insufficient_scope", scope="crm.write"' }],
    ['an error of its own', 500, {}],
    ['too many', 429, { 'Retry-After': '3' }],
    ['a 401 without a challenge', 401, {}],
  ] as const)('%s', async ([, status, headers]) => {
    script = () => ({ status, headers });
    const answer = await call('other');
    expect([answer.status, answer.body, seen().length]).toEqual([status, 'what the tool says', 1]);
  });
});
