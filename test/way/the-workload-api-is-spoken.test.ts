import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { spawn, type ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openAuthority, type Authority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { workloadApiService, type WorkloadApiService } from '../../proxy/spiffe/service-definition.ts';
import { openWorkloadApi, type WorkloadApi, type WorkloadApiEvent } from '../../proxy/spiffe/workload-api.ts';
import { eventually } from '../fakes/eventually.ts';

interface AnyMethod {
  readonly path: string;
  readonly requestSerialize: (request: never) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => object;
}

const agentId = 'spiffe://example.org/agent';
const sso = 'https://sso.example.org';
let folder: string;
let authority: Authority;
/** Undone in reverse order after each test. */
let opened: { close(): void }[];
let events: WorkloadApiEvent[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-spoken-'));
  authority = await openAuthority('example.org');
  opened = [];
  events = [];
});

afterEach(async () => {
  for (const each of opened.toReversed()) each.close();
  await rm(folder, { recursive: true });
});

async function serve(changed: { x509TtlSeconds?: number; jwtTtlSeconds?: number } = {}): Promise<WorkloadApiServer> {
  const socketPath = join(folder, 'agent.sock');
  const ttl = { x509TtlSeconds: 60, jwtTtlSeconds: 60, ...changed };
  const server = await openWorkloadApiServer({ socketPath, authority, spiffeId: agentId, jwtIssuer: sso, ...ttl });
  opened.push(server);
  return server;
}

function connect(): WorkloadApi {
  const address = `unix://${join(folder, 'agent.sock')}`;
  const client = openWorkloadApi({ address, now: Date.now, onEvent: (event) => events.push(event) });
  opened.push(client);
  return client;
}

/** A client that has everything the agent gives. */
async function connectFully(): Promise<WorkloadApi> {
  const client = connect();
  await eventually('the full state', () => client.x509Bundles().size + client.jwtBundles().size === 2);
  await eventually('the SVID', () => client.x509() !== undefined);
  events = [];
  return client;
}

const kinds = () => events.map(({ kind }) => kind);
const serialOf = (client: WorkloadApi) => client.x509()?.default.serial;

test('the first SVID comes with key and bundle, and is what the standard demands', async () => {
  const server = await serve();
  const { default: svid } = (await connectFully()).x509()!;
  expect(svid.spiffeId.toString()).toBe(agentId);
  const leaf = new X509Certificate(svid.chain[0]!);
  const ca = new X509Certificate(server.bundle().x509Pem);
  expect(leaf.checkIssued(ca) && leaf.verify(ca.publicKey) && leaf.checkPrivateKey(svid.privateKey())).toBe(true);
  expect([leaf.ca, leaf.subjectAltName, ca.ca, ca.subjectAltName]).toEqual([
    false,
    `URI:${agentId}`,
    true,
    'URI:spiffe://example.org',
  ]);
  // serverAuth and clientAuth.
  expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  expect(svid.privateKey().asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
  expect(svid.expiresAtMs - Date.now()).toBeGreaterThan(50_000);
  expect(svid.expiresAtMs - Date.now()).toBeLessThanOrEqual(60_000);
});

test('the SVID rotates at half of its life, by itself and when told to', async () => {
  // Half of it has to be enough for a loaded machine to fetch the next.
  const server = await serve({ x509TtlSeconds: 6 });
  const client = await connectFully();
  const first = serialOf(client);
  await eventually('the rotation', () => kinds().includes('svid.rotated'), 4500);
  expect(serialOf(client)).not.toBe(first);
  const second = serialOf(client);
  await server.rotate();
  await eventually('the forced rotation', () => serialOf(client) !== second, 2000);
  expect(new Set(kinds())).toEqual(new Set(['svid.rotated']));
});

test('when the last entry is removed the identity is gone within a second, and comes back with an entry', async () => {
  const server = await serve();
  const client = await connectFully();
  await client.fetchJwtSvid(sso);
  await server.removeEntries();
  await eventually('the loss', () => client.identity() === undefined, 1000);
  expect(client.x509()).toBeUndefined();
  await expect(client.fetchJwtSvid(sso)).rejects.toMatchObject({ reason: 'denied' });
  expect(events.find(({ kind }) => kind === 'svid.lost')).toMatchObject({ spiffeId: agentId, cause: 'denied' });
  await server.setEntries([{ spiffeId: 'spiffe://example.org/new' }]);
  await eventually('the new identity', () => client.identity()?.path === '/new');
  expect((await client.fetchJwtSvid(sso)).spiffeId.path).toBe('/new');
});

test('a killed server leaves the SVID in force, and a new one on the same socket refreshes it', async () => {
  const socketPath = join(folder, 'agent.sock');
  const script = fileURLToPath(import.meta.resolve('../fakes/workload-api-process.ts'));
  const start = async (): Promise<ChildProcess> => {
    const child = spawn(process.execPath, [script, socketPath], { stdio: ['ignore', 'pipe', 'inherit'] });
    opened.push({ close: () => child.kill('SIGKILL') });
    await once(child.stdout, 'data');
    return child;
  };
  const child = await start();
  const client = await connectFully();
  const [first, token] = [serialOf(client), await client.fetchJwtSvid(sso)];
  child.kill('SIGKILL');
  await once(child, 'exit');
  await eventually('the failures', () => kinds().filter((kind) => kind === 'error').length >= 3);
  // A killed process does not remove its socket: the next server finds it, and the client is refused at it.
  expect((await stat(socketPath)).isSocket()).toBe(true);
  expect([serialOf(client), await client.fetchJwtSvid(sso)]).toEqual([first, token]);
  await expect(client.fetchJwtSvid('https://new.example.org')).rejects.toMatchObject({ reason: 'unavailable' });
  expect(kinds()).not.toContain('svid.lost');
  await start();
  await eventually('the refresh', () => serialOf(client) !== first);
  expect(kinds()).toContain('svid.rotated');
});

test('a server that comes after the client is found', async () => {
  const client = connect();
  await eventually('the failures', () => kinds().length === 3);
  expect(client.identity()).toBeUndefined();
  await serve();
  await eventually('the identity', () => client.identity()?.toString() === agentId);
});

test('a JWT-SVID is verified by the bundle, kept until half of its life and then fetched anew', async () => {
  const server = await serve({ jwtTtlSeconds: 4 });
  const client = await connectFully();
  const first = await client.fetchJwtSvid(sso);
  expect(await client.fetchJwtSvid(sso)).toBe(first);
  const verify = async (keys: readonly object[]) =>
    jwtVerify(first.token(), createLocalJWKSet({ keys: keys as { kty: string }[] }), { audience: sso, typ: 'JWT' });
  const { payload, protectedHeader } = await verify(server.bundleJwks());
  expect(payload).toMatchObject({ sub: agentId, aud: [sso], iss: sso });
  expect(payload.exp! - payload.iat!).toBe(4);
  expect(protectedHeader).toEqual({ alg: 'ES256', typ: 'JWT', kid: server.bundleJwks()[0]?.kid });
  await sleep(2100);
  const second = await client.fetchJwtSvid(sso);
  expect(second.token()).not.toBe(first.token());
  // After a change of keys new tokens have the new kid, and those under way are still verified.
  server.rotateJwtKey();
  await eventually('both keys', () => client.jwtBundles().get('example.org')?.length === 2);
  await verify(client.jwtBundles().get('example.org')!);
  expect(kinds()).toEqual(['bundle.updated']);
});

test('an update that says nothing new is no event', async () => {
  const server = await serve();
  const client = await connectFully();
  const [svids, bundles] = [client.x509(), client.jwtBundles()];
  server.announce();
  server.announce();
  // A later change on the same streams shows that the repetitions were seen before it.
  await server.setEntries([{ spiffeId: agentId, hint: 'main' }]);
  await eventually('the change', () => client.x509()?.default.hint === 'main');
  expect(kinds()).toEqual(['svid.rotated']);
  expect(client.x509()).not.toBe(svids);
  expect(client.jwtBundles()).toBe(bundles);
});

test('servers of one authority share bundle and keys, each with its own identity', async () => {
  const first = await serve();
  const socketPath = join(folder, 'other.sock');
  const ttl = { x509TtlSeconds: 60, jwtTtlSeconds: 60 };
  const other = await openWorkloadApiServer({ socketPath, authority, spiffeId: 'spiffe://example.org/other', ...ttl });
  opened.push(other);
  const client = await connectFully();
  other.rotateJwtKey();
  await eventually('the new key', () => client.jwtBundles().get('example.org')?.length === 2);
  expect(client.identity()?.toString()).toBe(agentId);
  expect(first.bundle()).toEqual(other.bundle());
});

test('the socket is open to its own user only, and a living one is not taken over', async () => {
  const server = await serve();
  expect((await stat(server.socketPath)).mode & 0o777).toBe(0o600);
  await expect(serve()).rejects.toThrow('another server');
  expect((await connectFully()).identity()?.toString()).toBe(agentId);
});

test.each(Object.keys(workloadApiService) as (keyof WorkloadApiService)[])(
  '%s without the security header is refused',
  async (method) => {
    const { socketPath } = await serve();
    const raw = new Client(`unix:${socketPath}`, credentials.createInsecure());
    opened.push(raw);
    const { path, requestSerialize, responseDeserialize }: AnyMethod = workloadApiService[method];
    const call = (metadata: Metadata) => {
      const request = { audience: [sso], spiffe_id: '' } as never;
      const stream = raw.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata);
      return new Promise<status>((resolve) => {
        stream.on('error', (error: ServiceError) => resolve(error.code));
        stream.on('data', () => resolve(status.OK));
      }).finally(() => stream.cancel());
    };
    const wrong = new Metadata();
    wrong.set('workload.spiffe.io', 'yes');
    const right = new Metadata();
    right.set('workload.spiffe.io', 'true');
    expect([await call(new Metadata()), await call(wrong), await call(right)]).toEqual([
      status.INVALID_ARGUMENT,
      status.INVALID_ARGUMENT,
      status.OK,
    ]);
  },
);
