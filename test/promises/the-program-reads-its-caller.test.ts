import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SeenCall } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { expectPasses } from '../stage/refused-way-in.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const bearerOf = ({ headers }: SeenCall): string => String(headers.authorization).replace(/^Bearer /, '');

/** What a server that insists on verifying does: the keys of `waybill.local`, asked for through its HTTP proxy. */
async function verifyLikeAServer(stage: WayInStage, token: string, audience: string) {
  const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://waybill.local/.well-known/jwks.json');
  expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/jwk-set+json']);
  const keys = createLocalJWKSet(JSON.parse(answer.body) as Parameters<typeof createLocalJWKSet>[0]);
  const { payload } = await jwtVerify(token, keys, {
    issuer: 'http://waybill.local',
    audience,
    requiredClaims: ['exp', 'sub'],
  });
  return payload;
}

describe('program behind the way in, inert-jwt', () => {
  let stage: WayInStage;

  beforeAll(async () => {
    stage = await openWayIn({ name: 'reader' });
  });
  afterAll(() => stage?.close());

  test('a plain HTTP server gets the request as it was sent, on every method, with its body and query', async () => {
    const caller = await stage.caller();
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const body = method.startsWith('P') ? `{"by":"${method}"}` : undefined;
      const request = {
        method,
        path: '/a/b?q=1&q=2',
        headers: [
          ['Accept', 'text/x'],
          ['X-Mine', 'a, b'],
        ] as const,
      };
      const answer = await caller.send({ ...request, ...(body === undefined ? {} : { body }) });
      expect([method, answer.status]).toEqual([method, 200]);
      const call = stage.program.seen.at(-1)!;
      expect([call.method, call.path, call.body.toString()]).toEqual([method, '/a/b?q=1&q=2', body ?? '']);
      expect([call.headers.accept, call.headers['x-mine'], call.headers.host]).toEqual([
        'text/x',
        'a, b',
        'reader.localhost',
      ]);
    }
  });

  test('a server that reads subject, roles and tenant from a JWT, and verifies it, reads those of the caller', async () => {
    const act = { sub: 'spiffe://example.org/planner' };
    const claims = {
      sub: 'zoë',
      roles: ['clerk', 'auditor'],
      tenant: { id: 7 },
      scope: 'a b',
      act,
      email: 'z@example.org',
    };
    const caller = await stage.caller(claims);
    await expectPasses(stage, 'call', () => caller.send());
    const given = bearerOf(stage.program.seen.at(-1)!);
    const payload = await verifyLikeAServer(stage, given, 'reader');
    expect(payload).toMatchObject({ ...claims, sub_iss: stage.service.issuer });
    expect(Object.keys(payload).toSorted((a, b) => a.localeCompare(b))).toEqual([
      'act',
      'aud',
      'email',
      'exp',
      'iat',
      'iss',
      'jti',
      'roles',
      'scope',
      'sub',
      'sub_iss',
      'tenant',
    ]);
    const original = decodeJwt(caller.token);
    expect([payload.jti, payload['cnf'], payload.iss]).not.toContain(original.jti);
    expect(payload['cnf']).toBeUndefined();
    expect(JSON.stringify(stage.program.seen.at(-1)?.rawHeaders)).not.toContain(caller.token.split('.')[2]);
  });

  test('each caller’s claims and no other’s, however they come mixed', async () => {
    const callers = await Promise.all(['ann', 'ben', 'cid', 'dot'].map((sub) => stage.caller({ sub })));
    const seen = stage.program.seen.length;
    await Promise.all(Array.from({ length: 80 }, (_, at) => callers[at % 4]!.send({ path: `/${at}` })));
    const subjects = stage.program.seen.slice(seen).map((call) => [call.path, decodeJwt(bearerOf(call)).sub]);
    expect(subjects.length).toBe(80);
    for (const [path, sub] of subjects) expect(sub).toBe(['ann', 'ben', 'cid', 'dot'][Number(path?.slice(1)) % 4]);
  });

  test('the keys are served by name only, and nothing else with them', async () => {
    const { outbound } = stage.sidecar.addresses;
    const get = (url: string, more: object = {}) => callThrough(outbound, url, more);
    const keys = JSON.parse((await get('http://waybill.local/.well-known/jwks.json')).body) as { keys: object[] };
    expect(keys.keys).toEqual([
      {
        kty: 'EC',
        crv: 'P-256',
        x: expect.any(String),
        y: expect.any(String),
        kid: expect.any(String),
        use: 'sig',
        alg: 'ES256',
      },
    ]);
    const origin = { headers: { Origin: 'https://evil.org' } };
    const others = [
      await get('http://waybill.local/.well-known/jwks.json', { method: 'POST' }),
      await get('http://waybill.local/.well-known/jwks.json', origin),
      await get('http://waybill.local/.well-known/other'),
      await get('http://waybill.local/'),
      await get('http://waybill.local.evil.org/.well-known/jwks.json'),
    ];
    expect(others.map(({ status }) => status >= 400)).toEqual(others.map(() => true));
  });
});

test('program behind the way in, handle: the same header with an opaque handle', async () => {
  const stage = await openWayIn({ name: 'opaque', inbound: { present: 'handle' } });
  try {
    const caller = await stage.caller();
    await expectPasses(stage, 'call', () => caller.send());
    await expectPasses(stage, 'call', () => caller.send());
    const [first, second] = stage.program.seen.map(bearerOf);
    expect(first).toMatch(/^wbh_[A-Za-z0-9_-]{51}$/);
    expect(second).not.toBe(first);
  } finally {
    await stage.close();
  }
});

test('program behind the way in, headers: verified claims, whatever the caller wrote there', async () => {
  const authority = await openDomain();
  const stage = await openWayIn({ name: 'plain', authority, inbound: { present: 'headers' } });
  try {
    const actor = { sub: 'spiffe://example.org/planner' };
    const caller = await stage.caller({ sub: 'Zoë\r\nWaybill-Subject: root', scope: 'read write', act: actor });
    const spellings = 'Waybill-Subject waybill-subject WAYBILL_SUBJECT Waybill-Handle Waybill-Caller X-Waybill-Subject';
    const forged = spellings.split(' ');
    await expectPasses(stage, 'call', () => caller.send({ headers: forged.map((name) => [name, 'root'] as const) }));
    const { headers, rawHeaders } = stage.program.seen.at(-1)!;
    expect(rawHeaders.join('\n')).not.toMatch(/^root$/m);
    expect(headers).toMatchObject({
      'waybill-subject': 'Zo%C3%AB%0D%0AWaybill-Subject%3A root',
      'waybill-issuer': stage.service.issuer,
      'waybill-caller': actor.sub,
      'waybill-scope': 'read write',
    });
    expect([headers.authorization, headers['waybill-handle']]).toEqual([undefined, expect.stringMatching(/^wbh_/)]);
  } finally {
    await stage.close();
  }
});

test('program behind the way in, original: a tool that is a resource server gets token and proof as they came', async () => {
  const stage = await openWayIn({ name: 'server', inbound: { program: 'tool', present: 'original' } });
  try {
    const caller = await stage.caller();
    const proof = caller.proofFor({ path: '/x' });
    await expectPasses(stage, 'call', () => caller.send({ path: '/x', proof }));
    const { headers } = stage.program.seen.at(-1)!;
    expect([headers.authorization, headers['dpop']]).toEqual([`DPoP ${caller.token}`, proof]);
  } finally {
    await stage.close();
  }
});

test('W12: what a caller says of itself does not arrive, in any case, count and spelling', async () => {
  const stage = await openWayIn();
  try {
    const caller = await stage.caller();
    const names = [
      'X-Forwarded-User',
      'X-Forwarded-For',
      'X-Real-IP',
      'X-User-Id',
      'X-Remote-User',
      'Remote-User',
      'X-Auth-Request-User',
      'Impersonate-User',
      'X-Goog-Authenticated-User-Email',
      'Client-Cert',
      'X-Client-Cert',
      'X-Spiffe-Id',
      'Txn-Token',
      'Signature',
      'Workload-Identity-Token',
      'X-HTTP-Method-Override',
      'X-Original-URL',
      'X-Jwt-Sub',
      'Waybill-Subject',
      'Waybill-Handle',
      'Waybill-Any',
    ];
    const spellings = (name: string): string[] => [
      name,
      name.toLowerCase(),
      name.toUpperCase(),
      name.replaceAll('-', '_'),
    ];
    const headers = names.flatMap((name) => spellings(name).map((spelling) => [spelling, 'forged-root'] as const));
    await expectPasses(stage, 'call', () =>
      caller.send({ headers: [...headers, ['Cookie', 'session=own'], ['X-Api-Key', 'own-key'], ['X-Mine', 'own']] }),
    );
    const call = stage.program.seen.at(-1)!;
    expect(call.rawHeaders.join('\n')).not.toContain('forged-root');
    expect([call.headers.cookie, call.headers['x-api-key'], call.headers['x-mine']]).toEqual([
      'session=own',
      'own-key',
      'own',
    ]);

    const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    // The member `waybill` that arrives is ours, first of the list.
    const traces: [string, string | undefined][] = [
      ['waybill=abc', undefined],
      ['vendor=1,waybill=abc', 'vendor=1'],
      ['waybill=abc,vendor=1', 'vendor=1'],
      ['vendor=1, waybill=abc, other=2', 'vendor=1,other=2'],
      ['vendor=waybill', 'vendor=waybill'],
      ['vendor=1', 'vendor=1'],
    ];
    for (const [sent, arrives] of traces) {
      const lines = [['TraceState', sent] as const, ['traceparent', trace] as const];
      await expectPasses(stage, sent, () => caller.send({ headers: lines }));
      const { tracestate, traceparent } = stage.program.seen.at(-1)!.headers;
      const [own, ...others] = String(tracestate).split(/,(.*)/);
      expect([sent, own, others[0], traceparent]).toEqual([
        sent,
        expect.stringMatching(/^waybill=wbt_[A-Za-z0-9_-]{40}$/),
        arrives,
        trace,
      ]);
    }
  } finally {
    await stage.close();
  }
});
