import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KeyIssuer, openKeyIssuer } from '../fakes/key-issuer.ts';
import type { Caller } from '../stage/caller.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { findSecrets, secretsOfToken } from '../stage/secret-scan.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const domain = 'trust-domain.example';
let tts: KeyIssuer;
let crm: EchoTool;
let agent: WayInStage;
let caller: Caller;
const made: string[] = [];

beforeAll(async () => {
  tts = await openKeyIssuer(domain);
  crm = await openEchoTool();
  agent = await openWayIn({
    inbound: { txn_token: { audience: domain, issuer: tts.issuer } },
    tools: {
      inside: { port: crm.port, more: { trust_domain: 'inside' } },
      outside: { port: crm.port },
      open: { port: crm.port, token: false },
    },
    sections: { tasks: { mode: 'detached' } },
  });
  caller = await agent.caller();
});
afterAll(async () => {
  await agent?.close();
  await Promise.all([tts?.close(), crm?.close()]);
});

/** A transaction token; changes overwrite what a good one says. */
function txnToken(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): string {
  const iat = Math.floor(Date.now() / 1000);
  const { iss: _optional, jti: _none, client_id: _other, ...base } = tts.claims({ iat, exp: iat + 120 });
  const said = { ...base, txn: `t-${made.length}`, scope: 'invoices.read', req_wl: 'gateway', ...claims };
  const token = tts.token(said, { typ: 'txntoken+jwt', ...header });
  made.push(token);
  return token;
}

const withTxn = (token: string): { headers: readonly (readonly [string, string])[] } => ({
  headers: [['Txn-Token', token]],
});

const valuesOf = (tool: EchoTool, name: string): string[] => {
  const raw = tool.seen.at(-1)?.rawHeaders ?? [];
  return raw.filter((_, at) => at % 2 === 1 && raw[at - 1]?.toLowerCase() === name);
};

/** A call of the program within the task of the last request. */
function callOn(name: string): ReturnType<typeof callThrough> {
  const [authorization = ''] = valuesOf(agent.program, 'authorization');
  return callThrough(agent.sidecar.addresses.outbound, `http://${name}.test/x`, { headers: { authorization } });
}

test('it reaches tools inside as it came, and nobody else: not the agent, no tool outside, none without a task', async () => {
  const token = txnToken();
  await expectPasses(agent, 'with a transaction', () => caller.send(withTxn(token)));
  expect(JSON.stringify(agent.program.seen.at(-1)?.rawHeaders)).not.toContain(token.slice(-40));
  expect([(await callOn('inside')).status, valuesOf(crm, 'txn-token')]).toEqual([200, [token]]);
  for (const name of ['outside', 'open'])
    expect([(await callOn(name)).status, valuesOf(crm, 'txn-token')]).toEqual([200, []]);
});

test('a request without one opens a task without one, and the next request has its own', async () => {
  await expectPasses(agent, 'without', () => caller.send());
  expect([(await callOn('inside')).status, valuesOf(crm, 'txn-token')]).toEqual([200, []]);
  const other = txnToken();
  await expectPasses(agent, 'with another', () => caller.send(withTxn(other)));
  expect([(await callOn('inside')).status, valuesOf(crm, 'txn-token')]).toEqual([200, [other]]);
});

test('a transaction that has ended is carried nowhere, and not replaced', async () => {
  const iat = Math.floor(Date.now() / 1000);
  await expectPasses(agent, 'a short one', () => caller.send(withTxn(txnToken({ exp: iat + 2 }))));
  expect((await callOn('inside')).status).toBe(200);
  await new Promise((done) => setTimeout(done, 2100));
  const answer = await callOn('inside');
  expect([answer.status, answer.code]).toEqual([403, 'grant_dead']);
  expect((await callOn('outside')).status).toBe(200);
});

const now = (): number => Math.floor(Date.now() / 1000);
const bad: readonly (readonly [what: string, code: string, token: () => string])[] = [
  ['of typ at+jwt', 'token_invalid', () => txnToken({}, { typ: 'at+jwt' })],
  ['of typ JWT', 'token_invalid', () => txnToken({}, { typ: 'JWT' })],
  ['without typ', 'token_invalid', () => txnToken({}, { typ: undefined })],
  ['for another trust domain', 'token_wrong_audience', () => txnToken({ aud: 'other-domain.example' })],
  ['for two', 'token_wrong_audience', () => txnToken({ aud: [domain, 'other-domain.example'] })],
  ['expired', 'token_invalid', () => txnToken({ iat: now() - 100, exp: now() - 1 })],
  [
    'expired, and for another trust domain',
    'token_invalid',
    () => txnToken({ aud: 'x', iat: now() - 100, exp: now() - 1 }),
  ],
  ['too long, and for another trust domain', 'token_invalid', () => txnToken({ aud: 'x', exp: now() + 4000 })],
  ['of the future', 'token_invalid', () => txnToken({ iat: now() + 100, exp: now() + 200 })],
  ['without iat', 'token_invalid', () => txnToken({ iat: undefined })],
  ['good for an hour', 'token_invalid', () => txnToken({ exp: now() + 3600 })],
  ['of another issuer', 'token_invalid', () => txnToken({ iss: 'https://evil.example.org' })],
  ['about another user', 'token_invalid', () => txnToken({ sub: 'mallory' })],
  ['without a transaction', 'token_invalid', () => txnToken({ txn: undefined })],
  ['without a workload', 'token_invalid', () => txnToken({ req_wl: '' })],
  ['without a scope', 'token_invalid', () => txnToken({ scope: undefined })],
  ['with a key that nobody knows', 'token_invalid', () => txnToken({}, { kid: 'unknown' })],
  ['two in one value', 'token_invalid', () => `${txnToken()}, ${txnToken()}`],
  ['no token', 'token_invalid', () => 'forged'],
];

describe('a transaction token that is not good lets nobody in', () => {
  test('each is refused, and the honest request passes', async () => {
    const attacks: Attack[] = bad.map(([what, code, token]) => ({
      what,
      code,
      send: () => caller.send(withTxn(token())),
    }));
    const twice = { headers: [...withTxn(txnToken()).headers, ...withTxn(txnToken()).headers] };
    await expectEachRefused(agent, [
      ...attacks,
      { what: 'two headers', code: 'message_malformed', send: () => caller.send(twice) },
      { what: 'in Authorization', code: 'token_invalid', send: () => caller.send({ token: txnToken() }) },
      {
        what: 'named as hop by hop',
        code: 'header_forbidden',
        send: () => caller.send({ headers: [...withTxn(txnToken()).headers, ['Connection', 'txn-token']] }),
      },
    ]);
    await expectPasses(agent, 'honest', () => caller.send(withTxn(txnToken({ iss: tts.issuer }))));
  });
});

test('demanded, and good for one request each, where the configuration says so; a tool behind the way in gets it', async () => {
  const stage = await openWayIn({
    name: 'tool',
    inbound: {
      txn_token: { audience: domain, jwks_uri: `${tts.issuer}/jwks`, require: true, once: true, sub: 'any' },
      program: 'tool',
      present: 'original',
    },
    sections: { replay: { future: '1s' } },
  });
  try {
    await sleep(3200);
    const user = await stage.caller();
    const fresh = { iat: now(), exp: now() + 100, sub: 'pairwise' };
    const [first, second] = [txnToken(fresh), txnToken(fresh)];
    await expectEachRefused(stage, [{ what: 'none', code: 'token_missing', send: () => user.send() }]);
    await expectPasses(stage, 'first use', () => user.send(withTxn(first)));
    expect(valuesOf(stage.program, 'txn-token')).toEqual([first]);
    await expectEachRefused(stage, [
      { what: 'again', code: 'token_spent', send: () => user.send(withTxn(first)) },
      {
        what: 'from before the start',
        code: 'ledger_warming',
        send: () => user.send(withTxn(txnToken({ iat: now() - 60 }))),
      },
    ]);
    await expectPasses(stage, 'another transaction', () => user.send(withTxn(second)));
  } finally {
    await stage.close();
  }
});

test('without the setting it is removed unread', async () => {
  const stage = await openWayIn({ name: 'plain', inbound: { program: 'tool', present: 'original' } });
  try {
    const user = await stage.caller();
    await expectPasses(stage, 'forged', () => user.send(withTxn('forged')));
    expect(valuesOf(stage.program, 'txn-token')).toEqual([]);
  } finally {
    await stage.close();
  }
});

test("an agent that is shown its caller's token is not shown the transaction", async () => {
  const txn_token = { audience: domain, issuer: tts.issuer };
  const stage = await openWayIn({ name: 'shown', inbound: { txn_token, present: 'unsafe_original' } });
  try {
    const user = await stage.caller();
    await expectPasses(stage, 'shown', () => user.send(withTxn(txnToken())));
    expect([valuesOf(stage.program, 'authorization'), valuesOf(stage.program, 'txn-token')]).toEqual([
      [`DPoP ${user.token}`],
      [],
    ]);
  } finally {
    await stage.close();
  }
});

test('W8: no transaction token is in the record, the log or the metrics', async () => {
  const secrets = made.flatMap((token) => secretsOfToken('transaction token', token));
  const leftovers = [
    ['events', readFileSync(agent.sidecar.eventsFile, 'utf8')],
    ['output', agent.sidecar.output()],
    ['metrics', await agent.sidecar.metrics()],
  ].map(([where, text]) => ({ where: String(where), bytes: Buffer.from(String(text)) }));
  expect(secrets.length).toBeGreaterThan(15);
  expect(findSecrets(secrets, leftovers)).toEqual([]);
});
