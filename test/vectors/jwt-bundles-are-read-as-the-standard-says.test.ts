import { createPublicKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { parseJwtBundle } from '../../proxy/spiffe/bundles.ts';
import { MalformedAnswer } from '../../proxy/spiffe/identity-unavailable.ts';
import { absent, readSpiffeVectors } from './spiffe-vectors.ts';

const vectors = readSpiffeVectors('bundles');
const refused = ['spiffebundle_missing_kid', 'spiffebundle_no_keys'];

test('of a bundle exactly the keys for JWT-SVIDs are taken, and each can be imported', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  const documents = Object.entries(vectors.bundles).filter(([name]) => !refused.includes(name));
  expect(documents.length).toBeGreaterThan(0);
  for (const [name, { bundle }] of documents) {
    const keys = parseJwtBundle(JSON.stringify(bundle));
    const expected = bundle.keys?.filter(({ use }) => use === 'jwt-svid').map(({ kid }) => kid);
    expect(
      keys.map(({ kid }) => kid),
      name,
    ).toEqual(expected);
    for (const key of keys) {
      expect(key).not.toHaveProperty('use');
      expect(createPublicKey({ key: { ...key }, format: 'jwk' }).asymmetricKeyType).toBe('ec');
    }
  }
});

test('a bundle without keys, or with a key without kid, is refused as a whole', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  for (const name of refused) {
    expect(() => parseJwtBundle(JSON.stringify(vectors.bundles[name]?.bundle)), name).toThrow(MalformedAnswer);
  }
});
