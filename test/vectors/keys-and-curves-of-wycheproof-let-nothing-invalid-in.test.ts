import { verify } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readPublicJwk } from '../../proxy/proofs/public-jwk.ts';
import { JwksCache, readKey } from '../../proxy/trust/jwks.ts';
import { readStrictCompact } from '../../proxy/trust/strict-jws.ts';
import { realWorld } from '../../proxy/world.ts';

const folder = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'wycheproof');
const absent = 'vectors not present';

type Jwk = Readonly<Record<string, unknown>>;
type Keys = Jwk | { readonly keys: readonly Jwk[] };

interface File<Group> {
  readonly numberOfTests: number;
  readonly testGroups: readonly Group[];
}

function read<Group>(name: string): File<Group> | undefined {
  const file = join(folder, `${name}.json`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as File<Group>) : undefined;
}

interface KeyGroup {
  readonly comment: string;
  readonly public?: Keys;
  readonly private?: Keys;
  readonly tests: readonly { tcId: number; jws?: string; jwe?: string; result: string; comment: string }[];
}

/** What an issuer would publish of a group: the public halves. A symmetric key has none, and is published whole. */
function published(group: KeyGroup): readonly Jwk[] {
  const { public: open, private: secret } = group;
  const keys = open ?? secret ?? {};
  const list = Array.isArray(keys['keys']) ? (keys['keys'] as readonly Jwk[]) : [keys as Jwk];
  return list.map(({ d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...rest }) => rest);
}

/** What is said of a token of an issuer with these keys: the strict reading, the choice of the key by `kid`, the signature. */
async function verdict(text: string, keys: readonly Jwk[]): Promise<string> {
  const fetched = async () => ({ status: 200, body: JSON.stringify({ keys }) });
  try {
    await new JwksCache(realWorld([]), fetched).verify(
      readStrictCompact(text),
      new URL('https://a.test/'),
      'sig',
      1000,
    );
    return 'accepted';
  } catch (error) {
    return error instanceof Error ? error.message : 'unknown';
  }
}

/** Valid rows that are refused all the same: MACs, for which there is no key here, and JWEs, which are no signatures. */
function isOurs(group: KeyGroup, token: { jws?: string }): boolean {
  return token.jws !== undefined && !published(group).some(({ kty }) => kty === 'oct');
}

test.for(['json_web_crypto_test', 'json_web_key_test'])(
  '%s: none invalid is accepted, and every valid one of our kinds is',
  async (name, { skip }) => {
    const file = read<KeyGroup>(name);
    if (file === undefined) {
      skip(absent);
      return;
    }
    const wrong: string[] = [];
    let run = 0;
    let accepted = 0;
    for (const group of file.testGroups) {
      for (const { tcId, jws, jwe, result, comment } of group.tests) {
        run++;
        const said = await verdict(jws ?? jwe ?? '', published(group));
        if (said === 'accepted') accepted++;
        const expected = result === 'valid' && isOurs(group, jws === undefined ? {} : { jws });
        if ((said === 'accepted') !== expected) wrong.push(`${tcId} ${group.comment} ${comment}: ${result}, ${said}`);
      }
    }
    expect([wrong, run]).toEqual([[], file.numberOfTests]);
    expect(accepted).toBeGreaterThan(0);
  },
);

interface CurveGroup {
  readonly publicKeyJwk: Jwk;
  readonly tests: readonly { tcId: number; msg: string; sig: string; result: string; comment: string }[];
}

test('ed25519_test: each signature counts as it says, with the keys of issuers and of proofs', ({ skip }) => {
  const file = read<CurveGroup>('ed25519_test');
  if (file === undefined) {
    skip(absent);
    return;
  }
  const wrong: string[] = [];
  let run = 0;
  for (const { publicKeyJwk, tests } of file.testGroups) {
    const ofIssuer = readKey(publicKeyJwk)?.key;
    const ofProof = readPublicJwk('Ed25519', publicKeyJwk);
    const imported = typeof ofProof === 'string' ? undefined : ofProof.importKey();
    if (ofIssuer === undefined || imported === undefined || typeof ofProof === 'string') throw new Error('no key');
    for (const { tcId, msg, sig, result, comment } of tests) {
      run++;
      const message = Buffer.from(msg, 'hex');
      const signature = Buffer.from(sig, 'hex');
      const said = [ofIssuer, imported].map((key) => verify(undefined, message, key, signature));
      const text = message.toString('utf8');
      // What is signed in a proof is text; the other rows try the curve alone.
      if (Buffer.from(text).equals(message)) said.push(ofProof.isSigner(imported, text, signature));
      if (said.some((one) => one !== (result === 'valid'))) wrong.push(`${tcId} ${comment}: ${result}, ${said.join()}`);
    }
  }
  expect([wrong, run]).toEqual([[], file.numberOfTests]);
});

test('a proof by a key that anybody can factor is by nobody', ({ skip }) => {
  const file = read<KeyGroup>('json_web_crypto_test');
  if (file === undefined) {
    skip(absent);
    return;
  }
  const [weak] = file.testGroups.filter(({ comment }) => comment === 'jws_rsa_roca_key').flatMap(published);
  const [sound] = file.testGroups.filter(({ comment }) => comment === 'jws_rsa').flatMap(published);
  const imports = [weak, sound].map((jwk) => {
    const key = readPublicJwk('RS256', jwk);
    return typeof key === 'string' ? key : key.importKey()?.type;
  });
  expect(imports).toEqual([undefined, 'public']);
});
