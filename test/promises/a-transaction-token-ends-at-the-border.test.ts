import { readFileSync } from 'node:fs';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { type Draft, openStrictService, type StrictService } from '../fakes/strict-service.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { findSecrets, secretsOfToken } from '../stage/secret-scan.ts';
import { openStrictStage, type StrictStage } from '../stage/strict-stage.ts';

const uri = 'urn:ietf:params:oauth:token-type:';
let corp: StrictService;
let tts: StrictService;
let stage: StrictStage;
let mirror: EchoTool;

beforeAll(async () => {
  const secret = 'secret-at-both-services-0123456789';
  corp = await openStrictService({ clients: { agent: secret } });
  tts = await openStrictService({ clients: { agent: secret } });
  tts.trust(corp.issuer, () => corp.keys());
  const token = { from: 'corp', audience: 'crm', scopes: ['crm.read'] };
  const txn = { from: 'tts', audience: 'trust-domain.example', scope: 'invoices.read' };
  mirror = await openEchoTool({
    answer: ({ headers }, response) => response.end(`${headers.authorization} and ${String(headers['txn-token'])}.`),
  });
  stage = await openStrictStage({
    services: {
      corp: { service: corp, clientId: 'agent', secret },
      tts: { service: tts, clientId: 'agent', secret },
    },
    tools: {
      inside: {
        token,
        trust_domain: 'inside',
        txn_token: {
          ...txn,
          request_context: { channel: 'agent' },
          request_details: { action: 'reconcile', of: [1, 2] },
        },
      },
      silent: { token, trust_domain: 'inside' },
      outside: { token },
      mirror: { token, trust_domain: 'inside', txn_token: txn, dial: `127.0.0.1:${mirror.port}` },
    },
  });
});
afterAll(async () => {
  await stage?.close();
  await mirror?.close();
});

const sentTxn = (): string[] => {
  const raw = stage.tool.seen.at(-1)?.rawHeaders ?? [];
  return raw.filter((_, at) => at % 2 === 1 && raw[at - 1]?.toLowerCase() === 'txn-token');
};

test('a tool inside gets one, asked for with the trust domain as audience, beside its access token', async () => {
  const { answer } = await stage.call('inside');
  expect([answer.status, tts.refused]).toEqual([200, []]);
  const { subject_token: _given, ...asked } = Object.fromEntries(tts.requests.at(-1) ?? []);
  expect(asked).toEqual({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    requested_token_type: `${uri}txn_token`,
    audience: 'trust-domain.example',
    scope: 'invoices.read',
    subject_token_type: `${uri}access_token`,
    request_context: '{"channel":"agent"}',
    request_details: '{"action":"reconcile","of":[1,2]}',
  });
  expect(sentTxn()).toEqual([tts.issued.at(-1)]);
  expect(stage.tool.seen.at(-1)?.headers.authorization).toBe(`Bearer ${corp.issued.at(-1)}`);
  expect(decodeProtectedHeader(sentTxn()[0] ?? '').typ).toBe('txntoken+jwt');
  expect(decodeJwt(sentTxn()[0] ?? '')).toMatchObject({ sub: 'alice', req_wl: 'agent', tctx: { action: 'reconcile' } });
});

test('the next call of the task carries the same one, and another task gets its own', async () => {
  const { handle } = await stage.call('inside');
  const before = tts.issued.length;
  const again = await callThrough(stage.sidecar.addresses.outbound, 'http://inside.test/y', { handle });
  expect([again.status, sentTxn(), tts.issued.length]).toEqual([200, [tts.issued.at(-1)], before]);
  await stage.call('inside');
  expect(tts.issued.length).toBe(before + 1);
});

test.for(['outside', 'silent', 'inside'])("an agent's own is removed, in any spelling: %s", async (name) => {
  const headers = { 'Txn-Token': 'forged', txn_token: 'forged', 'TXN-TOKEN': 'forged' };
  const { answer } = await stage.call(name, { headers });
  expect(answer.status).toBe(200);
  expect(sentTxn()).toEqual(name === 'inside' ? [tts.issued.at(-1)] : []);
  expect(JSON.stringify(stage.tool.seen.at(-1)?.rawHeaders)).not.toContain('forged');
});

test('W3: a tool that gives it back does not give it to the agent', async () => {
  const { answer } = await stage.call('mirror');
  const [token = '', txnToken = ''] = [corp.issued.at(-1), tts.issued.at(-1)];
  expect(answer.status).toBe(200);
  expect(answer.body).toBe(`Bearer ${'*'.repeat(token.length)} and ${'*'.repeat(txnToken.length)}.`);
});

const lies: readonly (readonly [what: string, cause: string, lie: (draft: Draft) => void])[] = [
  ['of typ at+jwt', 'typ', ({ header }) => (header.typ = 'at+jwt')],
  ['of typ JWT', 'typ', ({ header }) => (header.typ = 'JWT')],
  ['for another trust domain', 'audience', ({ claims }) => (claims['aud'] = 'other-domain.example')],
  ['for two', 'audience', ({ claims }) => (claims['aud'] = [claims['aud'], 'other-domain.example'])],
  ['about another user', 'subject', ({ claims }) => (claims['sub'] = 'mallory')],
  ['with a wider scope', 'scope', ({ claims }) => (claims['scope'] = 'invoices.read invoices.pay')],
  ['without a scope', 'malformed', ({ claims }) => delete claims['scope']],
  ['without a transaction', 'malformed', ({ claims }) => delete claims['txn']],
  ['without a workload', 'malformed', ({ claims }) => delete claims['req_wl']],
  ['of another workload', 'actor', ({ claims }) => (claims['req_wl'] = 'somebody-else')],
  ['of another issuer', 'issuer', ({ claims }) => (claims['iss'] = 'https://evil.example.org')],
  ['good for an hour', 'lifetime', ({ claims }) => (claims['exp'] = Number(claims['iat']) + 3600)],
  ['said to be a bearer token', 'token_type', ({ members }) => (members['token_type'] = 'Bearer')],
  [
    'said to be an access token',
    'issued_token_type',
    ({ members }) => (members['issued_token_type'] = `${uri}access_token`),
  ],
  ['with a refresh token', 'malformed', ({ members }) => (members['refresh_token'] = 'r3fr3sh')],
];

describe('W5: a transaction token that is not what was asked for stops the call, is revoked and recorded', () => {
  test.for(lies)('%s', async ([, cause, lie]) => {
    tts.lie = lie;
    const before = [corp.requests.length, stage.tool.seen.length];
    const { answer, txn } = await stage.call('inside');
    tts.lie = undefined;
    expect([answer.status, answer.code]).toEqual([502, 'token_rejected']);
    expect([corp.requests.length, stage.tool.seen.length]).toEqual(before);
    await eventually('it is revoked', () => tts.revoked.includes(tts.issued.at(-1) ?? ''));
    const events = readRecord(stage.sidecar.eventsFile).filter((event) => event['txn'] === txn);
    expect(events.find(({ event }) => event === 'token.rejected')).toMatchObject({ service: 'tts', cause });
  });
});

test('W8: no transaction token is in the record, the log or the metrics', async () => {
  const secrets = tts.issued.flatMap((token) => secretsOfToken('transaction token', token));
  const leftovers = [
    ['events', readFileSync(stage.sidecar.eventsFile, 'utf8')],
    ['output', stage.sidecar.output()],
    ['metrics', await stage.sidecar.metrics()],
  ].map(([where, bytes]) => ({ where: String(where), bytes: Buffer.from(String(bytes)) }));
  expect(secrets.length).toBeGreaterThan(15);
  expect(findSecrets(secrets, leftovers)).toEqual([]);
});
