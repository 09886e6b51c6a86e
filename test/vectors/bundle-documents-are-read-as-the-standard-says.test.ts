import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { parseBundleDocument, parseBundleMap } from '../../proxy/spiffe/bundle-document.ts';
import { MalformedAnswer } from '../../proxy/spiffe/identity-unavailable.ts';
import { absent, readSpiffeVectors } from './spiffe-vectors.ts';

const vectors = readSpiffeVectors('bundles');
const refused = ['spiffebundle_missing_kid', 'spiffebundle_no_keys'];

interface Document {
  readonly keys?: readonly { readonly use: string; readonly kid?: string; readonly x5c?: readonly string[] }[];
  readonly spiffe_sequence?: number;
  readonly spiffe_refresh_hint?: number;
}

test('of every document the authorities, the JWT keys, the count and the hint are read, or it is refused whole', ({
  skip,
}) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  const documents = Object.entries(vectors.bundles) as [string, { bundle: Document }][];
  expect(documents).toHaveLength(6);
  for (const [name, { bundle }] of documents) {
    const bytes = Buffer.from(JSON.stringify(bundle));
    if (refused.includes(name)) {
      expect(() => parseBundleDocument(bytes), name).toThrow(MalformedAnswer);
      continue;
    }
    const read = parseBundleDocument(bytes);
    const withUse = (use: string) => bundle.keys?.filter((key) => key.use === use) ?? [];
    // Of several certificates in one `x5c` the first counts, and the rest is not looked at.
    expect(
      read.authorities.map((der) => der.toString('base64')),
      name,
    ).toEqual(withUse('x509-svid').map(({ x5c }) => x5c?.[0]));
    for (const der of read.authorities) expect(new X509Certificate(der).ca, name).toBe(true);
    expect(
      read.jwtAuthorities.map(({ kid }) => kid),
      name,
    ).toEqual(withUse('jwt-svid').map(({ kid }) => kid));
    expect(read.sequence, name).toBe(bundle.spiffe_sequence);
    expect(read.refreshHintMs, name).toBe(bundle.spiffe_refresh_hint && bundle.spiffe_refresh_hint * 1000);
  }
});

test('a map of bundles names each domain once, and says nothing of when to ask again', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  const text = JSON.stringify(vectors.bundles['spiffebundle_valid_2']?.bundle);
  const read = (map: string) => parseBundleMap(Buffer.from(`{"trust_domains":{${map}}}`));
  const bundles = read(`"a.org":${text},"b.org":{"keys":[]}`);
  expect([...bundles.keys()]).toEqual(['a.org', 'b.org']);
  expect(bundles.get('a.org')).toMatchObject({ sequence: 1, refreshHintMs: undefined });
  expect(bundles.get('b.org')?.authorities).toEqual([]);
  for (const map of [
    `"a.org":${text},"a.org":${text}`,
    `"spiffe://a.org":${text}`,
    `"A.org":${text}`,
    '"a.org":{}',
    '"a.org":[]',
  ]) {
    expect(() => read(map), map.slice(0, 20)).toThrow(MalformedAnswer);
  }
  expect(() => parseBundleMap(Buffer.from('{}'))).toThrow(MalformedAnswer);
});

const key = '{"use":"jwt-svid","kty":"EC","kid":"k","crv":"P-256","x":"x","y":"y"}';
const unreadable = [
  '',
  '[]',
  '{"keys":{}}',
  '{"keys":[],"spiffe_sequence":"1"}',
  '{"keys":[],"spiffe_sequence":-1}',
  '{"keys":[],"spiffe_sequence":1.5}',
  '{"keys":[],"spiffe_refresh_hint":null}',
  '{"keys":[{"use":"x509-svid","kty":"EC"}]}',
  '{"keys":[{"use":"x509-svid","kty":"EC","x5c":[]}]}',
  '{"keys":[{"use":"x509-svid","kty":"EC","x5c":["MAA="]}]}',
  `{"keys":[${key},${key}]}`,
  '{"keys":[{"use":"jwt-svid","kty":"EC","kid":"k"}]}',
  '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n',
];

test.each(unreadable)('%s is no bundle', (text) => {
  expect(() => parseBundleDocument(Buffer.from(text))).toThrow(MalformedAnswer);
});

test('keys without use, or of an unknown use or type, are left out', () => {
  const keys = [
    '{"kty":"EC","kid":"a"}',
    '{"use":"sig","kty":"EC"}',
    '{"use":"x509-svid","kty":"LATTICE"}',
    '7',
    'null',
  ];
  const read = parseBundleDocument(Buffer.from(`{"keys":[${keys.join()},${key}]}`));
  expect(read.authorities).toEqual([]);
  expect(read.jwtAuthorities.map(({ kid }) => kid)).toEqual(['k']);
});
