import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, expect, test } from 'vitest';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { eventually } from '../fakes/eventually.ts';
import { callEndpoint, openDesk, refusalOf } from '../fakes/token-desk.ts';
import { answerLies, claimLies, type Lie, memberLies } from '../fakes/token-service-lies.ts';
import { type FakeTokenService, openFakeTokenService } from '../fakes/token-service.ts';

let service: FakeTokenService;

afterEach(() => service.close());

/** Every lie with the check that must catch it. Those left out are harmless and stand in the second test. */
const caught: readonly [lie: Lie, cause: string][] = [
  ['wider_scope', 'scope'],
  ['wider_token_scope', 'scope'],
  ['wider_scp', 'scope'],
  ['n_a', 'token_type'],
  ['mac', 'token_type'],
  ['dpop_unasked', 'token_type'],
  ['missing_token_type', 'token_type'],
  ['missing_access_token', 'malformed'],
  ['empty_access_token', 'malformed'],
  ['header_injection', 'malformed'],
  ['missing_issued_token_type', 'issued_token_type'],
  ['other_issued_token_type', 'issued_token_type'],
  ['longer_expires_in', 'lifetime'],
  ['expires_in_over', 'lifetime'],
  ['details', 'authorization_details'],
  ['token_details', 'authorization_details'],
  ['scope_list', 'malformed'],
  ['other_audience', 'audience'],
  ['extra_audience', 'audience'],
  ['empty_audience', 'audience'],
  ['missing_audience', 'audience'],
  ['other_sub', 'subject'],
  ['missing_sub', 'subject'],
  ['missing_act', 'actor'],
  ['other_act', 'actor'],
  ['act_text', 'actor'],
  ['added_chain', 'actor'],
  ['other_cnf', 'confirmation'],
  ['longer_life', 'lifetime'],
  ['longer_life_undated', 'lifetime'],
  ['back_dated', 'lifetime'],
  ['missing_exp', 'time'],
  ['expired', 'time'],
  ['exp_text', 'time'],
  ['not_yet', 'time'],
  ['issued_in_future', 'time'],
  ['other_issuer', 'issuer'],
  ['issuer_with_slash', 'issuer'],
  ['foreign_key', 'signature'],
  ['unsigned', 'malformed'],
  ['opaque', 'malformed'],
  ['id_token_typ', 'typ'],
  ['no_typ', 'typ'],
  ['echo_subject', 'echo'],
  ['html', 'not_json'],
  ['html_with_json', 'not_json'],
  ['garbage', 'malformed'],
  ['json_list', 'malformed'],
  ['empty_body', 'malformed'],
  ['no_content', 'status'],
  ['huge', 'oversize'],
  ['redirect', 'redirect'],
];

/** Lies about the token that do not get it revoked: there is none, it is not one, or it is not the service's. */
const nothingToRevoke = new Set<Lie>([
  'missing_access_token',
  'empty_access_token',
  'header_injection',
  'echo_subject',
  ...Object.keys(answerLies),
]);

test.for(caught)('W5: a service that lies (%s) is refused for its %s', async ([lie, cause]) => {
  service = await openFakeTokenService({ lie });
  const { desk, trail, order } = await openDesk(service);
  const wanted = await order();
  const refusal = await refusalOf(() => desk.take(wanted));
  expect([refusal.code, refusal.kind.status]).toEqual(['token_rejected', 502]);
  expect(trail.rejectedTokens).toMatchObject([{ cause, txn: 'txn-1', tool: 'crm', service: 'corp' }]);
  expect(trail.exchanges).toEqual(['corp token_rejected']);
  expect(trail.issuedTokens).toEqual([]);
  expect(desk.held()).toEqual([]);
  if (nothingToRevoke.has(lie)) {
    await desk.close(1000);
    expect(service.counts.revoke).toBe(0);
  } else {
    await eventually('the token is revoked', () => trail.revokedTokens.length === 1);
    expect(service.revoked).toEqual(service.issued.slice(-1));
    expect(trail.revocations).toEqual(['token_rejected revoked']);
  }
  // Nothing was kept: the same order meets the refusal again, at once and without the service.
  const { token: asked } = service.counts;
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_rejected');
  expect([service.counts.token, trail.results]).toEqual([asked, ['miss', 'negative']]);
  expectNoSecrets([refusal, refusal.detail, trail, desk], service);
});

test('the table of lies is complete', () => {
  const harmless = ['no_expires_in', 'no_scope', 'cut_chain', 'missing_cnf', 'bearer', 'expires_in_odd'];
  const tried = new Set([...caught.map(([lie]) => lie), ...harmless]);
  const known = [...Object.keys(memberLies), ...Object.keys(claimLies)];
  expect(known.filter((lie) => !tried.has(lie))).toEqual([]);
});

test.for([
  ['missing_cnf', 'confirmation'],
  ['other_cnf', 'confirmation'],
  ['bearer', 'token_type'],
] as const)('W5: a token that must be bound and is not (%s) is a downgrade', async ([lie, cause]) => {
  service = await openFakeTokenService({ lie });
  const { desk, trail, order } = await openDesk(service);
  const wanted = await order({ proofKey: makeProofKey() });
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_rejected');
  expect(trail.rejectedTokens).toMatchObject([{ cause }]);
});

const planner = { sub: 'spiffe://example.org/planner', iss: 'https://sso.example.org' };

test('W5: the chain before us comes back whole, and a cut, extended or replaced one is refused', async () => {
  service = await openFakeTokenService();
  const { desk, trail, order } = await openDesk(service);
  await desk.take(await order({}, { act: planner }));
  for (const lie of ['cut_chain', 'added_chain', 'missing_act']) {
    service.lie = lie;
    const wanted = await order({ txn: lie }, { act: planner });
    expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_rejected');
  }
  expect(trail.rejectedTokens.map(({ cause }) => cause)).toEqual(['actor', 'actor', 'actor']);
});

test('W5: an actor that nobody asked for is refused where none is expected, and let through where any is', async () => {
  service = await openFakeTokenService();
  const none = await openDesk(service, { expect: { sub: 'same', act: 'none', typ: ['at+jwt'] } });
  const wanted = await none.order();
  expect((await refusalOf(() => none.desk.take(wanted))).code).toBe('token_rejected');
  const any = await openDesk(service, { expect: { sub: 'same', act: 'any', typ: ['at+jwt'] } });
  await any.desk.take(await any.order());
});

const introspecting: Partial<ServiceSettings> = { verify: 'introspect' };

test.for([
  ['inactive', 'inactive'],
  ['other_audience', 'audience'],
  ['missing_audience', 'audience'],
  ['other_sub', 'subject'],
  ['missing_sub', 'subject'],
  ['missing_act', 'actor'],
  ['wider_token_scope', 'scope'],
  ['longer_life', 'lifetime'],
  ['other_cnf', 'confirmation'],
  ['other_issuer', 'issuer'],
] as const)('W5: by introspection too, %s is refused for its %s', async ([lie, cause]) => {
  service = await openFakeTokenService({ lie });
  const { desk, trail, order } = await openDesk(service, introspecting);
  const wanted = await order();
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_rejected');
  expect(trail.rejectedTokens).toMatchObject([{ cause }]);
  await eventually('the token is revoked', () => trail.revokedTokens.length === 1);
});

test('an opaque token is good where the service says by introspection what it is', async () => {
  service = await openFakeTokenService({ lie: 'opaque' });
  const { desk, order } = await openDesk(service, introspecting);
  const token = await desk.take(await order());
  expect([token.audience, service.counts.introspect, service.counts.jwks]).toEqual([['crm'], 1, 0]);
});

test('what is honest but odd passes: no expires_in, a narrower scope, one of two audiences', async () => {
  service = await openFakeTokenService({ lie: 'no_expires_in' });
  const { desk, order } = await openDesk(service);
  const token = await desk.take(await order());
  expect(Math.round((token.expiresAtMs - token.issuedAtMs) / 1000)).toBeGreaterThan(295);
  service.lie = undefined;
  const narrower = await order({ txn: 'txn-2', audience: ['crm'], resource: 'https://crm.example.org' });
  expect((await desk.take(narrower)).audience).toEqual(['crm', 'https://crm.example.org']);
});

const secret = 'secret+of/our+client==';

test.for([
  ['client_secret_post', secret],
  ['client_secret_basic', secret],
  ['client_secret_basic', Buffer.from(`bot:${encodeURIComponent(secret)}`).toString('base64')],
] as const)('W5: our own secret (%s) is no token, though the service says so', async ([clientAuth, echo]) => {
  service = await openFakeTokenService({ secret });
  const file = join(mkdtempSync(join(tmpdir(), 'echo-')), 'secret');
  writeFileSync(file, secret);
  const call: typeof callEndpoint = async (url, init) => {
    const reply = await callEndpoint(url, init);
    const body = reply.body.replace(/"access_token":"[^"]+"/, `"access_token":"${echo}"`);
    return url.pathname === '/token' ? { ...reply, body } : reply;
  };
  const settings = { client_id: 'bot', client_secret_file: file, actor: 'none', verify: 'response-only' } as const;
  const { desk, trail, order } = await openDesk(service, { ...settings, client_auth: clientAuth }, { call });
  const wanted = await order();
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_rejected');
  expect(trail.rejectedTokens).toMatchObject([{ cause: 'echo' }]);
  await desk.close(1000);
  // It is not sent to the revocation endpoint either.
  expect(service.counts.revoke).toBe(0);
});

test('a token that cannot be checked is not used, and goes back', async () => {
  service = await openFakeTokenService();
  const { desk, trail, order } = await openDesk(service, {
    endpoints: { jwks: new URL('/nowhere', service.issuer).href },
  });
  const wanted = await order();
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
  await eventually('the token is revoked', () => trail.revokedTokens.length === 1);
  expect(trail.revocations).toEqual(['unverified revoked']);
});

/** W8: no 16-byte window of a token or assertion that went over the wire, in anything that could be printed. */
function expectNoSecrets(things: unknown[], { requests, issued }: FakeTokenService): void {
  const printed = things.map((thing) => inspect(thing, { depth: 20, showHidden: true }) + JSON.stringify(thing)).join();
  const names = ['subject_token', 'actor_token', 'client_assertion'];
  const sent = requests.flatMap(({ form }) => names.map((name) => form.get(name) ?? ''));
  const signatures = [...sent, ...issued]
    .map((text) => text.split('.').at(-1) ?? '')
    .filter((text) => text.length >= 16);
  expect(signatures.length).toBeGreaterThan(0);
  for (const signature of signatures) {
    for (let at = 0; at + 16 <= signature.length; at++)
      expect(printed.includes(signature.slice(at, at + 16))).toBe(false);
  }
  expect(printed).not.toContain('you sent');
}
