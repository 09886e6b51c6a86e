import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import { serviceProfiles } from '../../config/service-profiles.ts';
import { makeProofKey } from '../../proxy/proofs/dpop.ts';
import { eventually } from '../fakes/eventually.ts';
import { openDesk, refusalOf, type DeskUnderTest } from '../fakes/token-desk.ts';
import { type KeycloakStage, openKeycloak } from '../stage/keycloak.ts';

const keys = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  EdDSA: generateKeyPairSync('ed25519'),
} as const;
const algorithms = ['ES256', 'RS256', 'EdDSA'] as const;
const foreign = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const folder = mkdtempSync(join(tmpdir(), 'waybill-assertions-'));
let opened: KeycloakStage | { missing: string };

beforeAll(async () => {
  const jwks = {
    keys: algorithms.map((alg) => ({
      ...keys[alg].publicKey.export({ format: 'jwk' }),
      kid: alg,
      alg,
      use: 'sig',
    })),
  };
  opened = await openKeycloak([{ name: 'corp', narrows: true, agents: [{ name: 'keyed', jwks }] }]);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  if (opened !== undefined && 'close' in opened) await opened.close();
});

/** The Keycloak; without one the test is skipped. */
function real(context: TestContext): KeycloakStage {
  return 'missing' in opened ? context.skip(opened.missing) : opened;
}

function openKeyed(
  keycloak: KeycloakStage,
  alg: keyof typeof keys,
  key = keys[alg].privateKey,
): Promise<DeskUnderTest> {
  const file = join(folder, `${alg}-${Math.random()}.pem`);
  writeFileSync(file, key.export({ type: 'pkcs8', format: 'pem' }));
  const issuer = keycloak.issuer('corp');
  const subjectToken = async () => (await keycloak.signIn('corp', ['tickets.read'])).accessToken;
  const client = { client_auth: 'private_key_jwt', client_id: keycloak.spiffeId('keyed') } as const;
  return openDesk(
    { issuer, subjectToken },
    // The time is for a Java that is not warm yet, on a busy machine.
    {
      ...client,
      dialect,
      client_key_file: file,
      client_key_id: alg,
      actor: 'none',
      expect: { act: 'any' },
      timeout: 20_000,
    },
  );
}

const { dialect } = serviceProfiles.keycloak;
const target = { audience: ['tickets-api'], scopes: ['tickets.read'] };

test.for(algorithms)('an assertion by a key for %s, for the issuer alone and of the new typ', async (alg, context) => {
  const { desk, order, trail } = await openKeyed(real(context), alg);
  const proofKey = makeProofKey();
  const token = await desk.take(await order({ ...target, proofKey }));
  expect(decodeJwt(token.reveal())).toMatchObject({ aud: 'tickets-api', cnf: { jkt: proofKey.jkt } });
  desk.dropTask('txn-1', 'completed');
  await eventually('it is revoked', () => trail.revocations.length === 1, 20_000);
  expect(trail.revocations).toEqual(['completed revoked']);
});

test('an assertion by another key is refused', async (context) => {
  const { desk, order } = await openKeyed(real(context), 'ES256', foreign.privateKey);
  const wanted = await order(target);
  expect((await refusalOf(() => desk.take(wanted))).code).toBe('token_service_unavailable');
});
