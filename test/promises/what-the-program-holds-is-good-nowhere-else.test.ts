import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import * as oauth from 'oauth4webapi';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Authority } from '../../proxy/embedded/authority.ts';
import { openTokenService, type TokenService } from '../../proxy/embedded/token-service.ts';
import { discover, exchangeGrant, OAuthClient, refusalOf, tokenType } from '../fakes/oauth-client.ts';
import { Caller } from '../stage/caller.ts';
import { openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { basic, callThrough } from '../stage/raw-call.ts';
import { expectPasses } from '../stage/refused-way-in.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { makeKey } from '../stage/signing-key.ts';
import { openDomain, openWayIn, type WayInOptions, type WayInStage } from '../stage/way-in-stage.ts';

const secret = 'stage-client-secret-0123456789abcdef';
const resource = (name: string): string => `http://${name}.localhost`;
let authority: Authority;
let service: TokenService;
let crm: EchoTool;

/** Modes that suit an agent, and what the program can hold of each. */
const modes = ['inert-jwt', 'handle', 'headers'] as const;

beforeAll(async () => {
  crm = await openEchoTool();
  authority = await openDomain();
  const owned = modes.map((name) => ({
    resource: resource(name),
    scopes: ['call', 'crm.read'],
    client: 'invoice-bot',
  }));
  service = await openTokenService({
    clients: [
      { clientId: 'invoice-bot', auth: 'client_secret_basic', clientSecret: secret, scopes: ['call', 'crm.read'] },
    ],
    resources: [
      ...owned,
      { resource: resource('crm'), scopes: ['crm.read'] },
      { resource: resource('other'), scopes: ['call'] },
    ],
    accessTokenTtlSeconds: 300,
    spiffe: { trustDomain: authority.trustDomain, jwks: () => authority.bundleJwks() },
  });
});
afterAll(async () => {
  await crm?.close();
  await service?.close();
});

/** A sidecar that takes tokens of the real service. */
function open(
  name: string,
  { inbound, ...more }: Omit<WayInOptions, 'inbound'> & { inbound?: Record<string, unknown> } = {},
): Promise<WayInStage> {
  const token = { from: 'corp', resource: resource('crm'), scopes: ['crm.read'] };
  return openWayIn({
    name,
    authority,
    corp: { issuer: service.issuer, actor: 'jwt-svid' },
    ...more,
    inbound: { accept: [{ issuer: service.issuer, proof: 'dpop' }], ...inbound },
    sections: {
      trust: { issuers: [{ issuer: service.issuer, audience: resource(name) }] },
      tools: {
        crm: { match: { host: 'crm.localhost' }, dial: `127.0.0.1:${crm.port}`, token },
        open: { match: { host: 'open.localhost' }, dial: `127.0.0.1:${crm.port}` },
      },
      ...more.sections,
    },
  });
}

async function callerOf(stage: WayInStage, sub: string): Promise<Caller> {
  const key = await makeKey();
  const order = { sub, audience: stage.origin, scopes: ['call', 'crm.read'], ttlSeconds: 300, jkt: key.jkt };
  const caller = new Caller(stage.to, key, await service.mintSubjectToken(order));
  await caller.send({ proof: null });
  return caller;
}

/** Everything in a request that could be shown to somebody else. */
function holdings({ headers }: SeenCall): string[] {
  const bearer = (headers.authorization ?? '').replace(/^Bearer /, '');
  const jti = bearer.startsWith('eyJ') ? [String(decodeJwt(bearer).jti)] : [];
  return [bearer, ...jti, String(headers['waybill-handle'] ?? '')].filter((text) => text !== '');
}

describe.each(modes)('program behind the way in, %s', (mode) => {
  let stage: WayInStage;
  let caller: Caller;
  let held: string[];

  beforeAll(async () => {
    stage = await open(mode, { inbound: { present: mode }, sections: { tasks: { linger: '60s' } } });
    caller = await callerOf(stage, 'alice');
    await expectPasses(stage, 'call', () => caller.call());
    held = holdings(stage.program.seen.at(-1)!);
  });
  afterAll(() => stage?.close());

  test('holds nothing of the caller’s credential, and nothing that another way in takes', async () => {
    expect(held.length).toBeGreaterThan(0);
    const raw = stage.program.seen.at(-1)!.rawHeaders.join('\n');
    expect(raw).not.toContain(caller.token);
    expect(raw).not.toContain(caller.token.split('.')[2]);
    const other = await open('other');
    try {
      const there = await callerOf(other, 'alice');
      const seen = [stage, other].map(({ program }) => program.seen.length);
      for (const text of held) {
        for (const at of [caller, there]) {
          const codes = [
            (await at.send({ token: text })).code,
            (await at.send({ token: text, scheme: 'Bearer' })).code,
            (await at.send({ token: text, scheme: 'Bearer', proof: null })).code,
          ];
          expect(codes).toEqual(['token_invalid', 'token_invalid', 'token_invalid']);
        }
        // A handle at the way out of another sidecar is known to be of none of its tasks.
        const foreign = await callThrough(other.sidecar.addresses.outbound, 'http://crm.localhost/', { handle: text });
        expect([foreign.status, foreign.code]).toEqual([
          403,
          expect.stringMatching(/^handle_(?:previous_process|unknown)$/),
        ]);
        const opened = await callOperator(other.sidecar.addresses.socket, 'POST', '/v1/tasks', { subject_token: text });
        expect(opened.status).toBeGreaterThanOrEqual(400);
      }
      expect([stage, other].map(({ program }) => program.seen.length)).toEqual(seen);
      expect(crm.seen).toEqual([]);
    } finally {
      await other.close();
    }
  });

  test('holds nothing that the token service takes, not even with the secret of the client', async () => {
    const client = new OAuthClient(
      await discover(service.issuer, 'oauth2'),
      'invoice-bot',
      oauth.ClientSecretBasic(secret),
    );
    for (const text of held) {
      for (const type of ['access_token', 'jwt', 'id_token']) {
        const exchange = client.grant(exchangeGrant, [
          ['subject_token', text],
          ['subject_token_type', tokenType(type)],
          ['resource', resource('crm')],
        ]);
        expect(await refusalOf(exchange)).toMatch(/^invalid_(?:request|grant)$/);
      }
      expect(await client.introspect(text)).toEqual({ active: false });
    }
    // An unbound token for this client is taken: what was refused above was not refused for the way of asking.
    const order = { sub: 'alice', audience: resource(mode), scopes: ['crm.read'], ttlSeconds: 60 };
    const granted = await client.exchange(await service.mintSubjectToken(order), [['resource', resource('crm')]]);
    expect(granted.claims).toMatchObject({ sub: 'alice' });
  });

  test('holds what its own way out takes for its task: the tool gets the caller’s token of exchange, and no trace of it', async () => {
    const { outbound } = stage.sidecar.addresses;
    for (const text of held) {
      const carried: Parameters<typeof callThrough>[2][] = [
        { handle: text },
        { headers: { Authorization: `Bearer ${text}` } },
        { headers: { Authorization: basic(text) } },
        { headers: { 'X-Api-Key': text } },
      ];
      for (const carry of carried) {
        crm.seen.length = 0;
        const answer = await callThrough(outbound, 'http://crm.localhost/deals', carry);
        expect([answer.status, answer.code]).toEqual([200, undefined]);
        const [call] = crm.seen;
        const token = String(call?.headers.authorization).replace(/^Bearer /, '');
        expect(decodeJwt(token)).toMatchObject({
          iss: service.issuer,
          sub: 'alice',
          aud: resource('crm'),
          scope: 'crm.read',
        });
        for (const secretText of held) expect(call?.rawHeaders.join('\n')).not.toContain(secretText);
        expect(answer.body + answer.lines.join('\n')).not.toContain(token);
      }
      crm.seen.length = 0;
      const open_ = await callThrough(outbound, 'http://open.localhost/', {
        headers: { Authorization: `Bearer ${text}` },
      });
      expect([open_.status, crm.seen[0]?.headers.authorization]).toEqual([200, undefined]);
    }
    crm.seen.length = 0;
  });
});

test.for(modes)('program behind the way in, %s: after answer and linger its handle is ended', async (mode) => {
  const stage = await open(mode, { inbound: { present: mode }, sections: { tasks: { linger: '300ms' } } });
  try {
    const caller = await callerOf(stage, 'alice');
    await expectPasses(stage, 'call', () => caller.call());
    const held = holdings(stage.program.seen.at(-1)!);
    await sleep(600);
    const series = 'waybill_replays_blocked_total{way="out",reason="handle_ended",grade="suspected"}';
    const before = await stage.sidecar.metric(series);
    for (const text of held) {
      const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.localhost/', { handle: text });
      expect([answer.status, answer.code]).toEqual([403, 'handle_ended']);
    }
    expect((await stage.sidecar.metric(series)) - before).toBe(held.length);
    expect(crm.seen).toEqual([]);
  } finally {
    await stage.close();
  }
});
