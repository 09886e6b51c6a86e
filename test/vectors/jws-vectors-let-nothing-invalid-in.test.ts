import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isFor, readKey, verifySignature } from '../../proxy/trust/jwks.ts';
import { readStrictCompact } from '../../proxy/trust/strict-jws.ts';

const vectors = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors');
const wycheproof = join(vectors, 'wycheproof', 'json_web_signature_test.json');
const cookbook = join(vectors, 'jose-cookbook');
const absent = 'vectors not present';

type Jwk = Readonly<Record<string, unknown>>;

interface Group {
  readonly public?: Jwk;
  readonly private: Jwk;
  readonly tests: readonly { tcId: number; jws: string; result: string; comment: string }[];
}

/** What the way of every token through this room says: the strict reading, the key's own rules, the signature. */
async function verdict(text: string, jwk: Jwk): Promise<string> {
  try {
    const jws = readStrictCompact(text);
    const key = readKey(jwk);
    if (key === undefined || !isFor(key, jws.header.alg, 'sig')) return 'key';
    await verifySignature(jws, key);
    return 'accepted';
  } catch (error) {
    return error instanceof Error ? error.message : 'unknown';
  }
}

/** A public key as a key set holds it. A private one is refused, so the vectors without a public half get theirs cut. */
function publicOf(group: Group): Jwk {
  const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...rest } = group.public ?? group.private;
  return rest;
}

/**
 * Valid rows that are refused all the same: MACs, for which there is no key here; a JWS without payload, which is no token; RFC 7520
 * keys whose `alg` contradicts the row or does not exist (346, 347, 350, 351); and characters that decoders skip (372, 373).
 */
const refusedThoughValid = new Set([
  1, 259, 264, 268, 272, 320, 325, 346, 347, 348, 350, 351, 352, 357, 358, 359, 372, 373, 376, 377,
]);

test('of the Wycheproof JWS rows none that is invalid is accepted, and every valid one of our kinds is', async ({
  skip,
}) => {
  if (!existsSync(wycheproof)) {
    skip(absent);
    return;
  }
  const { testGroups, numberOfTests } = JSON.parse(readFileSync(wycheproof, 'utf8')) as {
    testGroups: Group[];
    numberOfTests: number;
  };
  const wrong: string[] = [];
  let run = 0;
  for (const group of testGroups) {
    for (const { tcId, jws, result, comment } of group.tests) {
      run++;
      const expected = result === 'valid' && !refusedThoughValid.has(tcId);
      const said = await verdict(jws, publicOf(group));
      if ((said === 'accepted') !== expected) wrong.push(`${tcId} ${comment}: ${result}, ${said}`);
    }
  }
  expect([wrong, run]).toEqual([[], numberOfTests]);
});

interface Recipe {
  readonly title: string;
  readonly input: { key?: Jwk | readonly Jwk[] };
  readonly output: { compact?: string; json?: unknown; json_flat?: unknown };
}

/** Signatures with a payload of their own, by keys that can be published. The others are MACs, detached or unencoded, or have no compact form. */
const ours = /4_1|4_2|4_3|curve25519/;

test('the signatures of the JOSE cookbook verify; MACs, detached or unencoded payloads and other serialisations are refused', async ({
  skip,
}) => {
  if (!existsSync(cookbook)) {
    skip(absent);
    return;
  }
  const names = readdirSync(cookbook).filter((name) => /jws|rfc7797/.test(name));
  let accepted = 0;
  for (const name of names) {
    const { input, output } = JSON.parse(readFileSync(join(cookbook, name), 'utf8')) as Recipe;
    for (const key of [input.key ?? []].flat()) {
      const jwk = publicOf({ private: key, tests: [] });
      for (const json of [output.json, output.json_flat]) {
        if (json !== undefined) expect([name, await verdict(JSON.stringify(json), jwk)]).toEqual([name, refusal]);
      }
      if (output.compact === undefined) continue;
      const good = ours.test(name);
      if (good) accepted++;
      expect([name, await verdict(output.compact, jwk)]).toEqual([name, good ? 'accepted' : refusal]);
      // One character more, and it is not the same token any more.
      expect([name, await verdict(`${output.compact}=`, jwk)]).toEqual([name, refusal]);
    }
  }
  expect([accepted, names.length]).toEqual([4, 11]);
});

const refusal: unknown = expect.stringMatching(/^invalid token: (?:alg|malformed|header)$/);

test('a key set that hands out private or symmetric keys is not used', ({ skip }) => {
  if (!existsSync(cookbook)) {
    skip(absent);
    return;
  }
  const read = (name: string): Jwk => JSON.parse(readFileSync(join(cookbook, name), 'utf8')) as Jwk;
  expect(readKey(read('jwk_3_1.ec_public_key.json'))).toMatchObject({ kind: 'P-521', use: 'sig' });
  expect(readKey(read('jwk_3_3.rsa_public_key.json'))).toMatchObject({ kind: 'RSA' });
  for (const name of ['2.ec_private_key', '4.rsa_private_key', '5.symmetric_key_mac_computation']) {
    expect(readKey(read(`jwk_3_${name}.json`))).toBeUndefined();
  }
});
