import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { buildGo } from '../stage/go-programs.ts';
import { run } from './programs.ts';

const spiffeId = 'spiffe://example.org/invoice-bot';
const audience = 'https://sso.example.org';
const dir = mkdtempSync(join(tmpdir(), 'waybill-go-'));
const limitMs = 10 * 60_000;

let missing: string | undefined;
let client: string;
let server: WorkloadApiServer;

beforeAll(async () => {
  const built = await buildGo({
    name: 'a client with go-spiffe 2.9.0',
    module: 'go-spiffe',
    packages: ['.'],
    cost: 'half a minute when nothing is cached',
    limitMs,
  });
  if ('missing' in built) {
    missing = built.missing;
    return;
  }
  client = join(built.folder, 'real-go-spiffe');
  const authority = await openAuthority('example.org');
  const socketPath = join(dir, 'agent.sock');
  server = await openWorkloadApiServer({ socketPath, authority, spiffeId, x509TtlSeconds: 60, jwtTtlSeconds: 60 });
}, limitMs);
afterAll(() => {
  server?.close();
  rmSync(dir, { recursive: true });
});

/** What the client says; it verifies both SVIDs against the bundles that it was given. */
async function ask(): Promise<{ status: number | undefined; said: unknown; stderr: string }> {
  const { status, stdout, stderr } = await run(client, [`unix://${server.socketPath}`, audience]);
  return { status, said: status === 0 ? JSON.parse(stdout.toString()) : undefined, stderr };
}

test('a client that others wrote takes and verifies the SVIDs of our Workload API', async (context) => {
  if (missing !== undefined) context.skip(missing);
  const { status, said, stderr } = await ask();
  expect([status, stderr]).toEqual([0, '']);
  expect(said).toMatchObject({ x509: spiffeId, jwt: spiffeId, audience: [audience] });
  // Two keys in the bundle: the client finds the one that signed.
  server.rotateJwtKey();
  await server.rotate();
  expect((await ask()).said).toMatchObject({ x509: spiffeId, jwt: spiffeId });
});

test('without an entry the client is told that there is no identity', async (context) => {
  if (missing !== undefined) context.skip(missing);
  await server.removeEntries();
  const { status, stderr } = await ask();
  expect(status).toBe(1);
  expect(stderr).toContain('PermissionDenied');
});
