import { readFileSync } from 'node:fs';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { type Draft, openStrictService, type StrictService } from '../fakes/strict-service.ts';
import { readRecord } from '../stage/event-record.ts';
import { findSecrets, secretsOfToken } from '../stage/secret-scan.ts';
import { openStrictStage, type StrictStage } from '../stage/strict-stage.ts';

const uri = 'urn:ietf:params:oauth:token-type:';
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/** The service that knows the user, and the one in front of the tool. */
let idp: StrictService;
let other: StrictService;
let stage: StrictStage;

beforeAll(async () => {
  const [atIdp, atOther] = ['secret-at-the-idp-0123456789', 'secret-at-the-other-0123456789'];
  idp = await openStrictService({ clients: { agent: atIdp }, knownAs: 'agent-at-b' });
  other = await openStrictService({ clients: { 'agent-at-b': atOther }, rename: (sub) => `b|${sub}` });
  other.trust(idp.issuer, () => idp.keys());
  const token = { from: 'other', granted_by: 'idp', resource: 'https://crm.example.org', scopes: ['crm.read'] };
  stage = await openStrictStage({
    services: {
      idp: { service: idp, clientId: 'agent', secret: atIdp },
      other: { service: other, clientId: 'agent-at-b', secret: atOther, more: { profile: 'chaining' } },
    },
    tools: {
      jag: { token: { ...token, grant: 'id_jag' } },
      chained: { token: { ...token, grant: 'identity_chaining' } },
    },
  });
});
afterAll(() => stage?.close());

const fieldsOf = (form: URLSearchParams | undefined): Record<string, string> => Object.fromEntries(form ?? []);

describe('two legs, each asked for what it has to be asked', () => {
  test('id_jag', async () => {
    const { answer } = await stage.call('jag');
    expect(answer.status).toBe(200);
    const [statement = ''] = idp.issued.slice(-1);
    expect(fieldsOf(idp.requests.at(-1))).toMatchObject({
      grant_type: exchange,
      requested_token_type: `${uri}id-jag`,
      audience: other.issuer,
      resource: 'https://crm.example.org',
      scope: 'crm.read',
      subject_token_type: `${uri}access_token`,
    });
    expect(fieldsOf(other.requests.at(-1))).toEqual({
      grant_type: jwtBearer,
      assertion: statement,
      resource: 'https://crm.example.org',
      scope: 'crm.read',
    });
    expect(decodeProtectedHeader(statement).typ).toBe('oauth-id-jag+jwt');
    const sent = stage.tool.seen.at(-1)?.headers.authorization;
    expect(sent).toBe(`Bearer ${other.issued.at(-1)}`);
    expect(decodeJwt(other.issued.at(-1) ?? '').sub).toBe('b|alice');
  });

  test('identity_chaining', async () => {
    expect((await stage.call('chained')).answer.status).toBe(200);
    const { subject_token: _given, ...asked } = fieldsOf(idp.requests.at(-1));
    expect(asked).toEqual({
      grant_type: exchange,
      requested_token_type: `${uri}jwt`,
      resource: other.issuer,
      subject_token_type: `${uri}access_token`,
    });
    expect(other.requests.at(-1)?.get('assertion')).toBe(idp.issued.at(-1));
    expect(stage.tool.seen.at(-1)?.headers.authorization).toBe(`Bearer ${other.issued.at(-1)}`);
  });

  test('a statement is handed in once, and asked for anew by the next task', async () => {
    const before = idp.issued.length;
    for (let round = 0; round < 3; round++) expect((await stage.call('jag')).answer.status).toBe(200);
    expect(idp.issued.length).toBe(before + 3);
    expect(new Set(other.requests.map((form) => form.get('assertion'))).size).toBe(other.requests.length);
    expect(other.refused).toEqual([]);
  });
});

/** Lies of the first service about its statement, with the check that catches each. */
const statementLies: readonly (readonly [name: string, cause: string, lie: (draft: Draft) => void])[] = [
  ['an access token', 'typ', (draft) => (draft.header.typ = 'at+jwt')],
  ['no typ', 'typ', (draft) => delete draft.header.typ],
  ['for another service', 'audience', ({ claims }) => (claims['aud'] = 'https://evil.example.org')],
  ['for one more service', 'audience', ({ claims }) => (claims['aud'] = [claims['aud'], 'https://evil.example.org'])],
  ['for the tool', 'audience', ({ claims }) => (claims['aud'] = 'https://crm.example.org')],
  ['of another client', 'client', ({ claims }) => (claims['client_id'] = 'somebody-else')],
  ['of no client', 'malformed', ({ claims }) => delete claims['client_id']],
  ['about another user', 'subject', ({ claims }) => (claims['sub'] = 'mallory')],
  ['good for an hour', 'lifetime', ({ claims }) => (claims['exp'] = Number(claims['iat']) + 3600)],
  ['without an id', 'malformed', ({ claims }) => delete claims['jti']],
  ['without a time', 'time', ({ claims }) => delete claims['iat']],
  ['without an end', 'time', ({ claims }) => delete claims['exp']],
  ['of another issuer', 'issuer', ({ claims }) => (claims['iss'] = 'https://evil.example.org')],
  ['with a wider scope', 'scope', ({ claims }) => (claims['scope'] = 'crm.read crm.write')],
  ['said to be a bearer token', 'token_type', ({ members }) => (members['token_type'] = 'Bearer')],
  ['said to be another kind', 'issued_token_type', ({ members }) => (members['issued_token_type'] = `${uri}jwt`)],
  ['with a refresh token', 'malformed', ({ members }) => (members['refresh_token'] = 'r3fr3sh')],
];

/** Lies that matter in identity chaining, where the statement has no type of its own. */
const grantLies: typeof statementLies = [
  ['an ID-JAG', 'typ', (draft) => (draft.header.typ = 'oauth-id-jag+jwt')],
  ['an access token', 'typ', (draft) => (draft.header.typ = 'at+jwt')],
  ['for another service', 'audience', ({ claims }) => (claims['aud'] = 'https://evil.example.org')],
  ['good for an hour', 'lifetime', ({ claims }) => (claims['exp'] = Number(claims['iat']) + 3600)],
  ['about another user', 'subject', ({ claims }) => (claims['sub'] = 'mallory')],
];

/** Lies of the second service about its token. */
const tokenLies: typeof statementLies = [
  ['a statement in place of a token', 'token_type', ({ members }) => (members['token_type'] = 'N_A')],
  ['for another tool', 'audience', ({ claims }) => (claims['aud'] = 'https://payroll.example.org')],
  ['with a wider scope', 'scope', ({ claims }) => (claims['scope'] = 'crm.read admin')],
  ['of the typ of a statement', 'typ', ({ header }) => (header.typ = 'oauth-id-jag+jwt')],
];

describe.each([
  ['jag', statementLies],
  ['chained', grantLies],
] as const)(
  'W5: a statement (%s) that is not what was asked for goes nowhere, is revoked and recorded',
  (name, lies) => {
    test.for(lies)('%s', async ([, cause, lie]) => {
      idp.lie = lie;
      const before = [other.requests.length, stage.tool.seen.length];
      const { answer, txn } = await stage.call(name);
      idp.lie = undefined;
      expect([answer.status, answer.code]).toEqual([502, 'token_rejected']);
      expect([other.requests.length, stage.tool.seen.length]).toEqual(before);
      const [told = ''] = idp.issued.slice(-1);
      await eventually('it is revoked', () => idp.revoked.includes(told));
      const events = readRecord(stage.sidecar.eventsFile).filter((event) => event['txn'] === txn);
      expect(events.find(({ event }) => event === 'token.rejected')).toMatchObject({ service: 'idp', cause });
    });
  },
);

describe('W5: the second leg is checked like every other', () => {
  test.for(tokenLies)('%s', async ([, cause, lie]) => {
    other.lie = lie;
    const before = stage.tool.seen.length;
    const { answer, txn } = await stage.call('jag');
    other.lie = undefined;
    expect([answer.status, answer.code, stage.tool.seen.length]).toEqual([502, 'token_rejected', before]);
    await eventually('it is revoked', () => other.revoked.includes(other.issued.at(-1) ?? ''));
    const events = readRecord(stage.sidecar.eventsFile).filter((event) => event['txn'] === txn);
    expect(events.find(({ event }) => event === 'token.rejected')).toMatchObject({ service: 'other', cause });
  });

  test('a service that does not take the statement refuses this token, and the task goes on', async () => {
    other.trust(idp.issuer, () => ({ keys: [] }));
    const { answer } = await stage.call('jag');
    other.trust(idp.issuer, () => idp.keys());
    expect([answer.status, answer.code]).toEqual([403, 'exchange_refused']);
  });
});

test('W8: no statement is in the record, the log or the metrics, and none reached a tool', async () => {
  const secrets = idp.issued.flatMap((token) => secretsOfToken('statement', token));
  const leftovers = [
    ['events', readFileSync(stage.sidecar.eventsFile)],
    ['output', stage.sidecar.output()],
    ['metrics', await stage.sidecar.metrics()],
    ['the tool', JSON.stringify(stage.tool.seen)],
  ].map(([where, bytes]) => ({ where: String(where), bytes: Buffer.from(bytes as string) }));
  expect(secrets.length).toBeGreaterThan(20);
  expect(findSecrets(secrets, leftovers)).toEqual([]);
});
