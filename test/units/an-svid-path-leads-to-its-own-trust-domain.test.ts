import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { checkX509Path, InvalidSvidPath, type X509BundleOf, type X509Path } from '../../proxy/spiffe/x509-path.ts';
import {
  der,
  extension,
  mintAuthority,
  mintLeaf,
  usages,
  withoutEnd,
  type Minted,
  type Recipe,
} from '../fakes/certificate-mint.ts';
import { bundleOf as bundle } from '../fakes/trust-bundle.ts';

const root = await mintAuthority(undefined);
const intermediate = await mintAuthority(root);
const good = await mintLeaf(root);
const deep = await mintLeaf(intermediate);
const rsa = { name: 'RSASSA-PKCS1-v1_5', publicExponent: Uint8Array.of(1, 0, 1), modulusLength: 2048, hash: 'SHA-256' };

const trust =
  (...anchors: readonly Minted[]): X509BundleOf =>
  (name) =>
    name === 'example.org' ? bundle(...anchors.map((anchor) => anchor.der)) : undefined;
const check = (chain: readonly Minted[], bundleOf: X509BundleOf = trust(root), nowMs = Date.now()): X509Path =>
  checkX509Path(
    chain.map((one) => one.der),
    bundleOf,
    nowMs,
  );

function reasonOf(...args: Parameters<typeof check>): string {
  try {
    check(...args);
    return 'ok';
  } catch (error) {
    if (error instanceof InvalidSvidPath) return error.reason;
    throw error;
  }
}

test('a good path says who it is, with which key, and until when', async () => {
  const end = Date.parse('2030-01-01T00:00:00Z');
  const leaf = await mintLeaf(intermediate, { notAfter: end });
  const path = check([leaf, intermediate]);
  expect(path).toMatchObject({ spiffeId: 'spiffe://example.org/agent', trustDomain: 'example.org' });
  expect(path.publicKey.equals(new X509Certificate(leaf.der).publicKey)).toBe(true);
  // The leaf outlives its authorities, and counts no longer than they do.
  expect(path.notAfterMs).toBe(
    Math.min(...[root, intermediate].map((one) => new X509Certificate(one.der).validToDate.getTime())),
  );
  expect(reasonOf([leaf, intermediate], trust(root), path.notAfterMs - 1)).toBe('ok');
  expect(reasonOf([leaf, intermediate], trust(root), path.notAfterMs)).toBe('expired');
});

test('SVIDs of the embedded authority pass, for its own trust domain', async () => {
  const authority = await openAuthority('example.org');
  const { chainDer } = await authority.issueX509('spiffe://example.org/a/b', 60);
  const own = bundle(authority.bundle().x509Der);
  expect(checkX509Path([chainDer], () => own, Date.now()).spiffeId).toBe('spiffe://example.org/a/b');
  const forged = await authority.issueX509('spiffe://other.org/a/b', 60);
  expect(() =>
    checkX509Path([forged.chainDer], (name) => (name === 'example.org' ? own : undefined), Date.now()),
  ).toThrow('no_bundle');
  // Even where both domains share a root: an authority that is named for one does not issue for the other.
  expect(() => checkX509Path([forged.chainDer], () => own, Date.now())).toThrow('signer_id');
});

test('the path is what was handed in, in order, to an authority of the bundle', async () => {
  const stranger = await mintAuthority(undefined);
  const namesake = await mintAuthority(undefined, { subject: root.subject });
  const renewed = await mintAuthority(undefined, { subject: root.subject, keys: root.keys });
  const ended = await mintAuthority(undefined, { subject: root.subject, keys: root.keys, notAfter: Date.now() - 1000 });
  const renamed = await mintAuthority(root, { keys: intermediate.keys });
  const broken = { ...root, der: Buffer.from('not a certificate') };
  const rows: readonly [string, readonly Minted[], X509BundleOf, string][] = [
    ['leaf alone', [good], trust(root), 'ok'],
    ['leaf and intermediate', [deep, intermediate], trust(root), 'ok'],
    ['the root handed in too', [deep, intermediate, root], trust(root), 'ok'],
    ['an intermediate in the bundle', [deep], trust(intermediate), 'ok'],
    ['an intermediate in both', [deep, intermediate], trust(intermediate), 'ok'],
    ['a renewed root', [good], trust(renewed), 'ok'],
    ['an ended root beside a renewed one', [good], trust(ended, renewed), 'ok'],
    ['a broken authority beside a good one', [good], trust(broken, root), 'ok'],
    ['an ended root only', [good], trust(ended), 'expired'],
    ['no authority', [good], trust(), 'untrusted'],
    ['the intermediate left out', [deep], trust(root), 'untrusted'],
    ['the wrong order', [intermediate, deep], trust(root), 'spiffe_id'],
    ['something between', [good, stranger], trust(root), 'untrusted'],
    ['something behind', [deep, intermediate, stranger], trust(root), 'untrusted'],
    ['an authority of another name with the same key', [deep, renamed], trust(root), 'untrusted'],
    ['a root of the same name', [good], trust(namesake), 'untrusted'],
    ['a leaf of the namesake', [await mintLeaf(namesake)], trust(root), 'untrusted'],
    [
      'an intermediate of the namesake',
      [await mintLeaf(await mintAuthority(namesake, { subject: 'CN=i' }))],
      trust(root),
      'untrusted',
    ],
    ['its own authority', [await mintLeaf(undefined)], trust(root), 'untrusted'],
    ['a leaf in the bundle', [good], trust(good), 'untrusted'],
    ['a leaf as authority', [await mintLeaf(good), good], trust(root), 'signer_not_authority'],
    ['a leaf as authority in the bundle', [await mintLeaf(good)], trust(good), 'untrusted'],
  ];
  for (const [name, chain, bundleOf, wanted] of rows) expect(reasonOf(chain, bundleOf), name).toBe(wanted);
});

test('a path is at most four certificates and its authority, and as long as its authorities allow', async () => {
  const second = await mintAuthority(intermediate);
  const third = await mintAuthority(second);
  const fourth = await mintAuthority(third);
  expect(reasonOf([await mintLeaf(third), third, second, intermediate])).toBe('ok');
  expect(reasonOf([await mintLeaf(third), third, second, intermediate, root])).toBe('ok');
  expect(reasonOf([await mintLeaf(fourth), fourth, third, second, intermediate])).toBe('too_long');
  expect(reasonOf([await mintLeaf(fourth), fourth, third, second, intermediate, root])).toBe('too_long');
  for (const [pathLength, wanted] of [
    [0, 'path_length'],
    [1, 'ok'],
  ] as const) {
    const top = await mintAuthority(undefined, { pathLength });
    const middle = await mintAuthority(top);
    expect(reasonOf([await mintLeaf(top)], trust(top))).toBe('ok');
    expect(reasonOf([await mintLeaf(middle), middle], trust(top)), `root ${pathLength}`).toBe(wanted);
    const limited = await mintAuthority(root, { pathLength });
    const below = await mintAuthority(limited);
    expect(reasonOf([await mintLeaf(below), below, limited]), `intermediate ${pathLength}`).toBe(wanted);
  }
});

const { digitalSignature, keyCertSign, cRLSign } = usages;
const server = '1.3.6.1.5.5.7.3.1';
const client = '1.3.6.1.5.5.7.3.2';
const leaves: readonly [string, Recipe, string][] = [
  ['no key usage', { usage: false }, 'leaf_key_usage'],
  ['key usage that is not critical', { usageCritical: false }, 'leaf_key_usage'],
  ['no digitalSignature', { usage: usages.keyEncipherment }, 'leaf_key_usage'],
  ['more uses', { usage: digitalSignature | usages.keyAgreement }, 'ok'],
  ['no extended key usage', { purposes: false }, 'ok'],
  ['for servers only', { purposes: [server] }, 'leaf_purpose'],
  ['for clients only', { purposes: [client] }, 'leaf_purpose'],
  ['for anything', { purposes: ['2.5.29.37.0'] }, 'leaf_purpose'],
  ['for more', { purposes: [server, '1.3.6.1.5.5.7.3.4', client] }, 'ok'],
  ['a DNS name too', { dns: ['agent.example.org'] }, 'ok'],
  ['a name that looks like two', { dns: ['x, URI:spiffe://example.org/admin'] }, 'ok'],
  ['no subject', { subject: '' }, 'ok'],
  ['upper case', { uris: ['spiffe://Example.org/agent'] }, 'spiffe_id'],
  ['a query', { uris: ['spiffe://example.org/agent?x'] }, 'spiffe_id'],
  ['a zero byte', { uris: ['spiffe://example.org/agent\0/admin'] }, 'spiffe_id'],
  ['the same URI twice', { uris: ['spiffe://example.org/agent', 'spiffe://example.org/agent'] }, 'spiffe_id'],
  ['an unknown extension', { extra: [extension('1.2.3.4', false, der(0x05))] }, 'ok'],
  ['an unknown critical extension', { extra: [extension('1.2.3.4', true, der(0x05))] }, 'critical_extension'],
  ['an extension twice', { extra: [extension('2.5.29.19', true, der(0x30))] }, 'malformed'],
  [
    'bytes behind an extension',
    {
      purposes: false,
      extra: [extension('2.5.29.37', false, Buffer.concat([der(0x30, der(0x06, Buffer.of(42))), Buffer.of(0)]))],
    },
    'malformed',
  ],
  ['P-384', { algorithm: { name: 'ECDSA', namedCurve: 'P-384' } }, 'ok'],
  ['RSA', { algorithm: rsa }, 'ok'],
  ['short RSA', { algorithm: { ...rsa, modulusLength: 1024 } }, 'weak'],
  ['a signature with SHA-1', { hash: 'SHA-1' }, 'weak'],
  ['a signature with SHA-512', { hash: 'SHA-512' }, 'ok'],
];

test.for(leaves)('a leaf with %s: %s', async ([, recipe, wanted]) => {
  expect(reasonOf([await mintLeaf(root, recipe)])).toBe(wanted);
});

const signers: readonly [string, Recipe, string][] = [
  ['no SPIFFE ID', { uris: [] }, 'ok'],
  ['a web address', { uris: ['https://pki.example.org/ca'] }, 'ok'],
  ['a path in its ID', { uris: ['spiffe://example.org/ca'] }, 'signer_id'],
  ['a path in an ID in another spelling', { uris: ['SPIFFE://example.org/ca'] }, 'signer_id'],
  ['the ID of another trust domain', { uris: ['spiffe://other.org'] }, 'signer_id'],
  ['no key usage', { usage: false }, 'signer_key_usage'],
  ['no keyCertSign', { usage: cRLSign | digitalSignature }, 'signer_key_usage'],
  ['keyCertSign alone', { usage: keyCertSign }, 'ok'],
  ['its end behind it', { notAfter: Date.now() - 1000 }, 'expired'],
  ['its time to come', { notBefore: Date.now() + 60_000 }, 'not_yet_valid'],
  ['short RSA', { algorithm: { ...rsa, modulusLength: 1024 } }, 'weak'],
  ['an unknown critical extension', { extra: [extension('1.2.3.4', true, der(0x05))] }, 'critical_extension'],
];

test.for(signers)('an authority with %s: %s', async ([, recipe, wanted]) => {
  const signer = await mintAuthority(root, recipe);
  expect(reasonOf([await mintLeaf(signer), signer])).toBe(wanted);
  const anchor = await mintAuthority(undefined, recipe);
  // An authority of the bundle that cannot be read, or says that it signs nothing, is as if it were not there.
  const isNone = wanted === 'critical_extension' || (wanted === 'signer_key_usage' && recipe.usage !== false);
  const wantedOfAnchor = isNone ? 'untrusted' : wanted;
  expect(reasonOf([await mintLeaf(anchor)], trust(anchor))).toBe(wantedOfAnchor);
});

test('no changed byte of a certificate passes', () => {
  const bundleOf = trust(root);
  const path = [deep.der, intermediate.der];
  let seed = 1;
  for (let round = 0; round < 600; round++) {
    seed = (seed * 48_271) % 0x7fffffff;
    const which = round % 2;
    const changed = path.map((one, index) => (index === which ? Buffer.from(one) : one));
    const victim = changed[which]!;
    const at = seed % victim.length;
    victim[at] = (victim[at] ?? 0) ^ (1 << (seed % 8));
    expect(() => checkX509Path(changed, bundleOf, Date.now()), `byte ${at}`).toThrow(InvalidSvidPath);
  }
  for (const cut of [
    Buffer.alloc(0),
    deep.der.subarray(0, -1),
    Buffer.concat([deep.der, Buffer.of(0)]),
    Buffer.concat([deep.der, intermediate.der]),
  ]) {
    expect(() => checkX509Path([cut, intermediate.der], bundleOf, Date.now())).toThrow('malformed');
  }
});

test('an authority whose end is no date vouches for nobody, however often it is read', () => {
  const spoilt = bundle(withoutEnd(root.der));
  // Of such a date node:crypto says at times that there is none, and at times what lay in memory.
  const reasons = Array.from({ length: 2000 }, () => {
    try {
      return checkX509Path([good.der], () => spoilt, Date.now()).notAfterMs;
    } catch (error) {
      return error instanceof InvalidSvidPath ? error.reason : 'fault';
    }
  });
  expect(new Set(reasons)).toEqual(new Set(['untrusted']));
});
