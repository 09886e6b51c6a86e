import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JSONWebKeySet } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';
import { type Draft, openStrictService, type StrictService } from '../fakes/strict-service.ts';
import { readRecord } from '../stage/event-record.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openStrictStage, type StrictStage } from '../stage/strict-stage.ts';

const uri = 'urn:ietf:params:oauth:token-type:';
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const graph = 'https://graph.example.org/User.Read';
const details = [{ type: 'ticket', actions: ['read', 'comment'], identifier: 'T-1' }];

let dir: string;
let workloadApi: WorkloadApiServer;
let corp: StrictService;
let entra: StrictService;
let stage: StrictStage;

/** What Entra does otherwise: pairwise subjects, scopes without their prefix in the token, no `at+jwt`, the target by the scope. */
function asEntra({ header, claims, members }: Draft): void {
  header.typ = 'JWT';
  Object.assign(claims, { sub: 'pairwise-4711', aud: '00000003-0000-0000-c000-000000000000', scp: 'User.Read' });
  delete claims['scope'];
  members['scope'] = graph;
}

const entraLies: readonly (readonly [what: string, cause: string, lie: (draft: Draft) => void])[] = [
  ['another scope', 'scope', ({ claims }) => (claims['scp'] = 'Mail.Read')],
  ['another application', 'audience', ({ claims }) => (claims['aud'] = 'another-application')],
  ['an actor that nobody named', 'actor', ({ claims }) => (claims['act'] = { sub: 'somebody' })],
];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-words-'));
  const socketPath = join(dir, 'agent.sock');
  const authority = await openAuthority('example.org');
  const spiffeId = 'spiffe://example.org/invoice-bot';
  workloadApi = await openWorkloadApiServer({
    socketPath,
    authority,
    spiffeId,
    x509TtlSeconds: 600,
    jwtTtlSeconds: 60,
  });
  const secret = 'secret-at-the-service-0123456789';
  corp = await openStrictService({ clients: { agent: secret } });
  entra = await openStrictService({ clients: { agent: secret }, knownAs: 'invoice-bot', habit: asEntra });
  corp.trust('spiffe://example.org', () => authority.bundle().jwks as unknown as JSONWebKeySet);
  entra.trust(corp.issuer, () => corp.keys());
  const crm = { from: 'corp', resource: 'https://crm.example.org', scopes: ['crm.read'] };
  stage = await openStrictStage({
    services: {
      corp: { service: corp, clientId: 'agent', secret },
      entra: { service: entra, clientId: 'agent', secret, more: { profile: 'entra-obo' } },
      blind: { service: corp, clientId: 'agent', secret, more: { verify: 'response-only' } },
    },
    tools: {
      graph: { token: { from: 'entra', audience: '00000003-0000-0000-c000-000000000000', scopes: [graph] } },
      own: { token: { ...crm, grant: 'jwt_bearer', assertion: 'workload' }, on_behalf_of: 'any' },
      blind: { token: { from: 'blind', audience: 'blind' } },
      typed: { token: { ...crm, requested_token_type: 'jwt' } },
      detailed: { token: { from: 'corp', audience: ['crm', 'mail'], authorization_details: details } },
    },
    sections: { identity: { workload_api: `unix://${socketPath}` } },
  });
});
afterAll(async () => {
  await stage?.close();
  workloadApi?.close();
  rmSync(dir, { recursive: true });
});

const fieldsOf = (form: URLSearchParams | undefined): Record<string, string> => Object.fromEntries(form ?? []);
const sent = (): string | undefined => stage.tool.seen.at(-1)?.headers.authorization;

describe('on behalf of (profile entra-obo)', () => {
  test('is RFC 7523 with its own parameter, and the scope alone says the target', async () => {
    const { answer } = await stage.call('graph');
    expect([answer.status, entra.refused]).toEqual([200, []]);
    const { assertion, ...asked } = fieldsOf(entra.requests.at(-1));
    expect(asked).toEqual({ grant_type: jwtBearer, requested_token_use: 'on_behalf_of', scope: graph });
    expect(assertion).toMatch(/^ey/);
    expect(sent()).toBe(`Bearer ${entra.issued.at(-1)}`);
  });

  test.for(entraLies)('W5: a token with %s is refused and revoked', ([, cause, lie]) =>
    refused('graph', entra, cause, lie),
  );
});

test('our own JWT-SVID is handed in where the configuration says so, for that service alone, and what it obtained ends with our identity', async () => {
  const { answer, handle } = await stage.call('own');
  expect([answer.status, corp.refused]).toEqual([200, []]);
  const { assertion = '', ...asked } = fieldsOf(corp.requests.at(-1));
  expect(asked).toEqual({ grant_type: jwtBearer, resource: 'https://crm.example.org', scope: 'crm.read' });
  const claims = JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString()) as Record<
    string,
    unknown
  >;
  expect([claims['sub'], [claims['aud']].flat()]).toEqual(['spiffe://example.org/invoice-bot', [corp.issuer]]);
  expect(sent()).toBe(`Bearer ${corp.issued.at(-1)}`);
  // However we are known as client: it was obtained by who we were.
  await workloadApi.removeEntries();
  const isLost = () => readRecord(stage.sidecar.eventsFile).some(({ event }) => event === 'svid.lost');
  await eventually('the loss', isLost);
  const again = await callThrough(stage.sidecar.addresses.outbound, 'http://own.test/x', { handle });
  expect(again.code).toBe('identity_unavailable');
  await eventually('it is revoked', () => corp.revoked.includes(corp.issued.at(-1) ?? ''));
});

test('a service whose tokens nobody can read is believed by its answer, where the configuration says so', async () => {
  corp.lie = ({ claims }) => void (claims['aud'] = 'internal-name-of-the-tool');
  const { answer } = await stage.call('blind');
  corp.lie = undefined;
  expect([answer.status, sent()]).toEqual([200, `Bearer ${corp.issued.at(-1)}`]);
  await refused('blind', corp, 'token_type', ({ members }) => void (members['token_type'] = 'N_A'));
});

describe('an exchange with every option of RFC 8693', () => {
  test('another kind of token is asked for by name, and only that kind is taken', async () => {
    const { answer } = await stage.call('typed');
    expect([answer.status, corp.requests.at(-1)?.get('requested_token_type')]).toEqual([200, `${uri}jwt`]);
    await refused('typed', corp, 'issued_token_type', ({ members }) => {
      members['issued_token_type'] = `${uri}access_token`;
    });
  });

  test('details are asked for, with several audiences', async () => {
    const { answer } = await stage.call('detailed');
    const form = corp.requests.at(-1);
    expect([answer.status, form?.getAll('audience')]).toEqual([200, ['crm', 'mail']]);
    expect(JSON.parse(form?.get('authorization_details') ?? '')).toEqual(details);
  });

  test.for([
    ['fewer actions', [{ ...details[0], actions: ['read'] }]],
    ['none at all', []],
  ] as const)('granted details may be narrower: %s', async ([, granted]) => {
    corp.lie = ({ claims, members }) => {
      claims['authorization_details'] = granted;
      members['authorization_details'] = granted;
    };
    const { answer } = await stage.call('detailed');
    corp.lie = undefined;
    expect(answer.status).toBe(200);
  });

  test.for([
    ['another action', [{ ...details[0], actions: ['read', 'delete'] }]],
    ['no list of actions any more', [{ type: 'ticket', identifier: 'T-1' }]],
    ['an empty list', [{ ...details[0], actions: [] }]],
    ['another ticket', [{ ...details[0], identifier: 'T-2' }]],
    ['a member more', [{ ...details[0], datatypes: ['all'] }]],
    ['one more detail', [...details, { type: 'payment' }]],
    ['no list', details[0]],
  ] as const)('W5: wider details are refused, in the answer or in the token: %s', async ([, granted]) => {
    const cause = 'authorization_details';
    await refused('detailed', corp, cause, ({ members }) => void (members[cause] = granted));
    await refused('detailed', corp, cause, ({ claims }) => void (claims[cause] = granted));
  });
});

/** One call to a lying service: refused as such, revoked and recorded, and no tool was called. */
async function refused(
  name: string,
  service: StrictService,
  cause: string,
  lie: (draft: Draft) => void,
): Promise<void> {
  service.lie = lie;
  const before = stage.tool.seen.length;
  const { answer, txn } = await stage.call(name);
  service.lie = undefined;
  expect([answer.status, answer.code, stage.tool.seen.length]).toEqual([502, 'token_rejected', before]);
  await eventually('it is revoked', () => service.revoked.includes(service.issued.at(-1) ?? ''));
  const events = readRecord(stage.sidecar.eventsFile).filter((event) => event['txn'] === txn);
  expect(events.find(({ event }) => event === 'token.rejected')).toMatchObject({ cause });
}
