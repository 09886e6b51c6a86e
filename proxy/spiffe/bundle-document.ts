import { digestOf, readJwtAuthorities, type JwtAuthority } from './bundles.ts';
import { parseCertificates } from './certificates.ts';
import { MalformedAnswer } from './identity-unavailable.ts';
import { SpiffeId } from './spiffe-id.ts';
import { isObject, parseMembers, type Members } from './strict-members.ts';

/** A SPIFFE bundle (SPIFFE Trust Domain and Bundle, section 4): all that one trust domain is verified with. */
export interface BundleDocument {
  /** DER certificates of the keys with `use: x509-svid`. None: all were revoked. */
  readonly authorities: readonly Buffer[];
  readonly jwtAuthorities: readonly JwtAuthority[];
  /** Grows with every change of the content, where the publisher counts. */
  readonly sequence: number | undefined;
  /** How long the publisher wants to be left alone, milliseconds. */
  readonly refreshHintMs: number | undefined;
  /** Of the content, without the order of keys. */
  readonly digest: string;
}

/**
 * Reads a bundle document, or PEM certificates, which are a bundle for X.509-SVIDs only. Keys of unknown use or type are left out; a
 * document without `keys` says nothing and is refused, one with an empty list takes every key back. Throws MalformedAnswer.
 */
export function parseBundleDocument(bytes: Buffer): BundleDocument {
  if (bytes.includes('-----BEGIN ')) return readPem(bytes.toString('latin1'));
  const members = parseMembers(bytes);
  if (members === undefined) throw new MalformedAnswer('a bundle is not a JSON object with each name once');
  return readDocument(members);
}

/**
 * Reads several bundles by the names of their trust domains, `{"trust_domains": {"example.org": {…}}}`. When to ask again is not said by
 * the single bundles there. Throws MalformedAnswer, also for a trust domain that is named twice.
 */
export function parseBundleMap(bytes: Buffer): ReadonlyMap<string, BundleDocument> {
  const domains = parseMembers(bytes)?.['trust_domains'];
  if (!isObject(domains)) throw new MalformedAnswer('a map of bundles has no trust domains, or one twice');
  return new Map(
    Object.entries(domains).map(([name, bundle]) => {
      if (!isObject(bundle) || !isTrustDomain(name)) throw new MalformedAnswer('an entry of a map of bundles is none');
      return [name, { ...readDocument(bundle), refreshHintMs: undefined }];
    }),
  );
}

function readDocument(members: Members): BundleDocument {
  const { keys, spiffe_sequence: sequence, spiffe_refresh_hint: hint } = members;
  if (!Array.isArray(keys)) throw new MalformedAnswer('a bundle has no list of keys');
  const withUse = (use: string): readonly Members[] => keys.filter((key) => isObject(key) && key['use'] === use);
  const authorities = withUse('x509-svid').filter(hasKnownType).map(readAuthority);
  const jwtAuthorities = readJwtAuthorities(withUse('jwt-svid'));
  const refreshHint = readCount(hint);
  return {
    authorities,
    jwtAuthorities,
    sequence: readCount(sequence),
    refreshHintMs: refreshHint === undefined ? undefined : refreshHint * 1000,
    digest: digestOf([...authorities, ...jwtAuthorities.map((key) => JSON.stringify(key))]),
  };
}

/** `kty` says what the key of the certificate is; the certificate itself is what counts. */
function hasKnownType({ kty }: Members): boolean {
  return kty === 'EC' || kty === 'RSA' || kty === 'OKP';
}

/** `x5c` of an authority holds one certificate; further ones are not looked at (4.2.2). */
function readAuthority({ x5c }: Members): Buffer {
  const text: unknown = Array.isArray(x5c) ? x5c[0] : undefined;
  if (typeof text !== 'string') throw new MalformedAnswer('an X.509 authority of a bundle has no certificate');
  const [certificate, more] = parseCertificates(Buffer.from(text, 'base64'));
  if (more !== undefined) throw new MalformedAnswer('an X.509 authority of a bundle is more than one certificate');
  return certificate.der;
}

function readCount(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new MalformedAnswer('a count of a bundle is not a whole number');
}

function readPem(text: string): BundleDocument {
  const authorities = readPemCertificates(text);
  return {
    authorities,
    jwtAuthorities: [],
    sequence: undefined,
    refreshHintMs: undefined,
    digest: digestOf(authorities),
  };
}

/** DER certificates of a PEM text, in order; what stands between them is not looked at. Throws MalformedAnswer where there is none. */
export function readPemCertificates(text: string): readonly Buffer[] {
  const blocks = text.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g);
  const concatenated = Buffer.concat([...blocks].map(([, body = '']) => Buffer.from(body, 'base64')));
  return parseCertificates(concatenated).map(({ der }) => der);
}

function isTrustDomain(name: string): boolean {
  try {
    return SpiffeId.parse(`spiffe://${name}`).path === '';
  } catch {
    return false;
  }
}
