import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { jwtVerify } from 'jose';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { agentId, openDesk, refusalOf } from '../fakes/token-desk.ts';
import { openScriptedTool } from '../stage/scripted-tool.ts';
import { certificateFrom } from '../stage/tls-caller.ts';
import { openTlsDesks, type TlsDesks, withAliases } from '../stage/tls-desks.ts';

let desks: TlsDesks;

beforeAll(async () => {
  desks = await openTlsDesks();
});
afterEach(() => desks.close());
afterAll(() => desks.remove());

async function certificateFiles() {
  const certificate = join(desks.folder, `${Math.random()}.pem`);
  const key = join(desks.folder, `${Math.random()}.key`);
  const files = {
    client_certificate_file: certificate,
    client_key_file: key,
    async renew(): Promise<string> {
      const leaf = certificateFrom(await desks.leaf());
      writeFileSync(certificate, leaf.cert);
      writeFileSync(key, leaf.key);
      return leaf.x5t;
    },
  };
  return { ...files, first: await files.renew() };
}

test('tls_client_auth shows its certificate at all three endpoints, and names the client', async () => {
  const service = await desks.start({ bind: () => undefined, metadata: withAliases, demand: true });
  const { client_certificate_file, client_key_file, first } = await certificateFiles();
  const files = { client_certificate_file, client_key_file };
  const under = await desks.desk(service, {
    client_auth: 'tls_client_auth',
    client_id: 'invoice-bot',
    verify: 'introspect',
    ...files,
  });
  await under.desk.take(await under.order());
  under.desk.dropTask('txn-1', 'completed');
  await eventually('it is revoked', () => service.revoked.length === 1);
  expect(service.posts.map(({ path, x5t, form }) => [path, x5t, form.get('client_id')])).toEqual(
    ['token', 'introspect', 'revoke'].map((name) => [`/mtls/${name}`, first, 'invoice-bot']),
  );
  expect(service.posts.some(({ form }) => form.has('client_assertion') || form.has('client_secret'))).toBe(false);
});

test('a certificate that is renewed on disk is shown from then on, and a half-renewed pair not at all', async () => {
  const service = await desks.start({ bind: () => undefined });
  const files = await certificateFiles();
  const { client_certificate_file, client_key_file } = files;
  const settings = {
    client_auth: 'tls_client_auth',
    client_id: 'bot',
    client_certificate_file,
    client_key_file,
  } as const;
  const under = await desks.desk(service, settings);
  await under.desk.take(await under.order());
  const second = await files.renew();
  await under.desk.take(await under.order({ txn: 'txn-2' }));
  const lone = certificateFrom(await desks.leaf());
  writeFileSync(client_certificate_file, lone.cert);
  await under.desk.take(await under.order({ txn: 'txn-3' }));
  expect(service.posts.map(({ x5t }) => x5t)).toEqual([files.first, second, second]);
  // Who starts with such a pair has nothing to show.
  const late = await desks.desk(service, settings);
  const wanted = await late.order();
  expect((await refusalOf(() => late.desk.take(wanted))).code).toBe('identity_unavailable');
  writeFileSync(client_key_file, lone.key);
  await under.desk.take(await under.order({ txn: 'txn-4' }));
  expect(service.posts.at(-1)?.x5t).toBe(lone.x5t);
});

test('spiffe_x509 shows the SVID of the moment, whose ID is the client id', async () => {
  const service = await desks.start({ bind: () => undefined, demand: true });
  const svids = await desks.svids();
  const under = await desks.desk(service, { client_auth: 'spiffe_x509' }, svids);
  const first = svids.current;
  await under.desk.take(await under.order());
  svids.current = await desks.svid();
  await under.desk.take(await under.order({ txn: 'txn-2' }));
  expect(service.posts.map(({ x5t, form }) => [x5t, form.get('client_id')])).toEqual([
    [first?.thumbprint, agentId],
    [svids.current.thumbprint, agentId],
  ]);
  svids.current = undefined;
  const wanted = await under.order({ txn: 'txn-3' });
  expect((await refusalOf(() => under.desk.take(wanted))).code).toBe('identity_unavailable');
  expect(service.posts).toHaveLength(2);
});

test('a connection with one certificate is not used for another, and one without is not either', async () => {
  const service = await desks.start({ bind: () => undefined });
  const svids = await desks.svids();
  const under = await desks.desk(service, { client_auth: 'spiffe_x509' }, svids);
  await under.desk.take(await under.order());
  const before = service.connections();
  await under.desk.take(await under.order({ txn: 'txn-2' }));
  expect(service.connections()).toBe(before);
  svids.current = await desks.svid();
  await under.desk.take(await under.order({ txn: 'txn-3' }));
  expect(service.connections()).toBe(before + 1);
});

test('every request has an assertion of its own; those to other endpoints have one too', async () => {
  const service = await desks.start();
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const keyFile = join(desks.folder, 'ed25519.pem');
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const under = await desks.desk(service, {
    client_auth: 'private_key_jwt',
    client_id: 'bot',
    client_key_file: keyFile,
    verify: 'introspect',
  });
  await under.desk.take(await under.order());
  under.desk.dropTask('txn-1', 'completed');
  await eventually('it is revoked', () => service.revoked.length === 1);
  expect(service.posts.map(({ path, x5t }) => [path, x5t])).toEqual(
    ['/token', '/introspect', '/revoke'].map((path) => [path, undefined]),
  );
  const claims = await Promise.all(
    service.posts.map(async ({ form }) => (await jwtVerify(form.get('client_assertion') ?? '', publicKey)).payload),
  );
  expect(new Set(claims.map(({ jti }) => jti)).size).toBe(3);
  expect(new Set(claims.map(({ aud }) => aud))).toEqual(new Set([service.issuer]));
});

test('W5: a service is verified in full, by its own authority and for its own origin only', async () => {
  const service = await desks.start();
  const files = await certificateFiles();
  const { client_certificate_file, client_key_file } = files;
  const settings = {
    client_auth: 'tls_client_auth',
    client_id: 'b',
    client_certificate_file,
    client_key_file,
  } as const;
  const strangers = {
    'the public authorities': desks.endpointsFor({ issuer: service.issuer }),
    'an authority for another origin': desks.endpointsFor({ issuer: 'https://localhost:1', tls: { ca: desks.caFile } }),
    'an authority that cannot be read': desks.endpointsFor({
      issuer: service.issuer,
      tls: { ca: join(desks.folder, 'none') },
    }),
  };
  for (const [name, { call }] of Object.entries(strangers)) {
    const under = await openDesk(service, { actor: 'none', ...settings, expect: { act: 'none' } }, { call });
    const wanted = await under.order();
    expect([name, (await refusalOf(() => under.desk.take(wanted))).code]).toEqual([name, 'token_service_unavailable']);
  }
  // By a name that its certificate does not have.
  const byAddress = service.issuer.replace('localhost', '127.0.0.1');
  const { call } = desks.endpointsFor({ issuer: byAddress, tls: { ca: desks.caFile } });
  const reply = call(new URL(`${byAddress}/jwks`), { method: 'GET', headers: {}, timeoutMs: 2000, maxBytes: 9999 });
  await expect(reply).rejects.toThrow('unreachable');
  expect([service.posts, service.documents]).toEqual([[], []]);
});

test('keys of an issuer are fetched by the authority of the issuer, wherever they lie', async () => {
  const service = await desks.start({ metadata: (metadata) => metadata });
  const jwks = `${service.issuer}/jwks`;
  const fetchKeys = (tls: { ca?: string }) => {
    const { call } = desks.endpointsFor({ issuer: 'https://sso.example.org', jwks_uri: jwks, tls });
    return call(new URL(jwks), { method: 'GET', headers: {}, timeoutMs: 2000, maxBytes: 9999 });
  };
  expect((await fetchKeys({ ca: desks.caFile })).status).toBe(200);
  await expect(fetchKeys({})).rejects.toThrow('unreachable');
});

test('W5: a certificate is shown at no endpoint without TLS, and not where the issuer must not send us', async () => {
  const elsewhere = (metadata: Record<string, unknown>): Record<string, unknown> => ({
    ...metadata,
    mtls_endpoint_aliases: { token_endpoint: 'https://elsewhere.example.org/token' },
  });
  const service = await desks.start({ metadata: elsewhere });
  const svids = await desks.svids();
  const under = await desks.desk(service, { client_auth: 'spiffe_x509' }, svids);
  const wanted = await under.order();
  expect((await refusalOf(() => under.desk.take(wanted))).code).toBe('token_service_unavailable');
  const { call } = desks.endpointsFor({ issuer: service.issuer });
  const listener = await openScriptedTool((_request, response) => response.end('{}'));
  const plain = call(new URL(`http://127.0.0.1:${listener.port}/token`), {
    method: 'POST',
    headers: {},
    timeoutMs: 2000,
    maxBytes: 99,
    certificate: svids.current,
  });
  await expect(plain).rejects.toThrow('unreachable');
  expect([service.posts, listener.requests]).toEqual([[], []]);
  await listener.close();
  // Who shows no certificate is not concerned.
  const other = await desks.desk(service, { client_auth: 'spiffe_jwt' });
  await other.desk.take(await other.order());
});

test('the certificate says nothing when it is printed', async () => {
  const shown = await desks.svid();
  expect(`${shown.toString()} ${JSON.stringify(shown)} ${inspect(shown, { depth: 9, showHidden: true })}`).not.toMatch(
    /PRIVATE|BEGIN|"d"/,
  );
});
