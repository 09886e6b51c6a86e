import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { checkX509Path, InvalidSvidPath, type X509BundleOf } from '../../proxy/spiffe/x509-path.ts';
import { mintAuthority, mintLeaf, usages, type Minted, type Recipe } from '../fakes/certificate-mint.ts';
import { absent, readSpiffeVectors } from './spiffe-vectors.ts';
import { bundleOf as bundle } from '../fakes/trust-bundle.ts';

const vectors = readSpiffeVectors('x509-svid-cases');
const authority = await mintAuthority(undefined);
const other = await mintAuthority(undefined, { uris: ['spiffe://other.org'] });
const bundles: X509BundleOf = (name) => new Map([['example.org', bundle(authority.der)]]).get(name);
const { digitalSignature, keyCertSign, cRLSign } = usages;

function reasonOf(chain: readonly Buffer[], bundleOf: X509BundleOf = bundles, nowMs: number = Date.now()): string {
  try {
    return `ok ${checkX509Path(chain, bundleOf, nowMs).spiffeId}`;
  } catch (error) {
    if (error instanceof InvalidSvidPath) return error.reason;
    throw error;
  }
}

/** What the parsers of the standard say, and the word that stands for it here. */
const expectations: Readonly<Record<string, string>> = {
  'no URI SAN': 'spiffe_id',
  'leaf CA true': 'leaf_is_authority',
  'no digitalSignature': 'leaf_key_usage',
  'leaf keyCertSign': 'leaf_key_usage',
  'leaf cRLSign': 'leaf_key_usage',
  'signing cert CA false': 'signer_not_authority',
  'signing cert without keyCertSign': 'signer_key_usage',
};

test('fixtures of the standard are refused for what is wrong with them', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  const some: X509BundleOf = () => bundle(authority.der);
  let refused = 0;
  for (const { file, expect: expected, pem } of vectors.fixtures) {
    const chain = pem
      .split(/(?<=-----END CERTIFICATE-----)\s*/)
      .filter((one) => one.includes('BEGIN'))
      .map((one) => new X509Certificate(one).raw);
    const leaf = new X509Certificate(chain[0] ?? '');
    const nowMs = leaf.validFromDate.getTime() + 1000;
    const wanted = expectations[expected];
    if (wanted !== undefined) {
      expect(reasonOf(chain, some, nowMs), file).toBe(wanted);
      refused += 1;
    } else if (chain.length > 1) {
      // Whole, with the intermediate as the authority of the bundle; and to nobody's authority otherwise.
      const bundleOf: X509BundleOf = (name) => (name === 'example.org' ? bundle(chain[1] ?? leaf.raw) : undefined);
      expect(reasonOf(chain, bundleOf, nowMs), file).toMatch(/^ok spiffe:\/\/example\.org\//);
      expect(reasonOf(chain.slice(0, 1), bundleOf, nowMs), file).toMatch(/^ok spiffe:\/\/example\.org\//);
      expect(reasonOf(chain, some, nowMs), file).toBe('untrusted');
    } else expect(reasonOf(chain, some, nowMs), file).toBe('untrusted');
  }
  expect(refused).toBe(7);
});

const leafCases: Readonly<Record<string, [Recipe, string]>> = {
  expired: [{ notBefore: Date.now() - 7_200_000, notAfter: Date.now() - 1000 }, 'expired'],
  'not yet valid': [{ notBefore: Date.now() + 60_000 }, 'not_yet_valid'],
  'no URI SAN': [{ uris: [], dns: ['agent.example.org'] }, 'spiffe_id'],
  'two URI SANs': [{ uris: ['spiffe://example.org/agent', 'spiffe://example.org/admin'] }, 'spiffe_id'],
  'scheme not spiffe': [{ uris: ['https://example.org/agent'] }, 'spiffe_id'],
  'root path': [{ uris: ['spiffe://example.org'] }, 'spiffe_id'],
  'leaf CA true': [{ ca: true }, 'leaf_is_authority'],
  keyCertSign: [{ usage: digitalSignature | keyCertSign }, 'leaf_key_usage'],
  cRLSign: [{ usage: digitalSignature | cRLSign }, 'leaf_key_usage'],
};

const chainCases: Readonly<Record<string, (leaf: Minted) => [string, string]>> = {
  'empty chain': () => [reasonOf([]), 'empty'],
  'no bundle for the leaf trust domain': (leaf) => [reasonOf([leaf.der], () => undefined), 'no_bundle'],
  'bundle of another trust domain (right CA, wrong name)': (leaf) => [
    reasonOf([leaf.der], (name) => (name === 'other.org' ? bundle(authority.der, other.der) : undefined)),
    'no_bundle',
  ],
};

test('every verification case of the standard is refused, and the good one beside it is not', async ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  const good = await mintLeaf(authority);
  expect(reasonOf([good.der])).toBe('ok spiffe://example.org/agent');
  for (const name of vectors.verifyCases) {
    const chainCase = chainCases[name];
    const leafCase = leafCases[name];
    if (chainCase !== undefined) {
      const [found, wanted] = chainCase(good);
      expect(found, name).toBe(wanted);
    } else if (leafCase !== undefined) {
      const leaf = await mintLeaf(authority, leafCase[0]);
      expect(reasonOf([leaf.der]), name).toBe(leafCase[1]);
    } else expect.fail(`no case is made for "${name}"`);
  }
});
