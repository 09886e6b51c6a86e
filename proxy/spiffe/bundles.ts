import { createHash } from 'node:crypto';
import { parseCertificates } from './certificates.ts';
import { MalformedAnswer } from './identity-unavailable.ts';
import type { BytesEntry } from './service-definition.ts';
import { SpiffeId } from './spiffe-id.ts';
import { isObject, type Members } from './strict-members.ts';

/** What one trust domain is verified with, and a digest of it that does not depend on the order of keys. */
export interface Bundle<Content> {
  readonly content: Content;
  readonly digest: string;
}

/** A public key that signs JWT-SVIDs. Exactly these members: what else stood in the document is dropped, `use` too (jose finds no key by `jwt-svid`). */
export interface JwtAuthority {
  readonly kid: string;
  readonly kty: 'EC' | 'RSA';
  readonly alg?: string;
  readonly crv?: string;
  readonly x?: string;
  readonly y?: string;
  readonly n?: string;
  readonly e?: string;
}

/** Bundles by the name of their trust domain (`example.org`). A trust domain is verified with its own bundle only, never with another's. */
export type Bundles<Content> = ReadonlyMap<string, Bundle<Content>>;

/** Reads the X.509 bundles of an answer: DER certificates of each trust domain. Throws MalformedAnswer. */
export function parseX509Bundles(entries: readonly BytesEntry[]): Bundles<readonly Buffer[]> {
  return parseEntries(entries, (value) => {
    // No certificate is a full state too: SPIRE writes it for a domain that has taken all of them back, or signs JWTs only. Refused, it
    // would keep those that were taken back, and with them those of every other domain of the answer.
    const content = value.length === 0 ? [] : parseCertificates(value).map((certificate) => certificate.der);
    return { content, digest: digestOf(content) };
  });
}

/** Reads the JWT bundles of an answer: the keys of each trust domain that may sign JWT-SVIDs. Throws MalformedAnswer. */
export function parseJwtBundles(entries: readonly BytesEntry[]): Bundles<readonly JwtAuthority[]> {
  return parseEntries(entries, (value) => {
    const content = parseJwtBundle(value.toString('utf8'));
    return { content, digest: digestOf(content.map((key) => JSON.stringify(key))) };
  });
}

/**
 * Reads the JWT authorities of one JWKS document. Keys of other uses and of unknown types are left out; no key at all means that every
 * key was revoked, a document without `keys` means nothing and is refused (SPIFFE Trust Domain and Bundle, section 4).
 */
export function parseJwtBundle(json: string): readonly JwtAuthority[] {
  const { keys } = readObject(json);
  if (!Array.isArray(keys)) throw new MalformedAnswer('a JWT bundle has no list of keys');
  // The Workload API of SPIRE writes no `use`, its bundle endpoint does.
  return readJwtAuthorities(keys.filter((key: unknown) => !isObject(key) || (key['use'] ?? 'jwt-svid') === 'jwt-svid'));
}

/** Reads keys that are for JWT-SVIDs; those of unknown types are left out. Throws MalformedAnswer. */
export function readJwtAuthorities(keys: readonly unknown[]): readonly JwtAuthority[] {
  const found = keys.map(readJwtAuthority).filter((authority) => authority !== undefined);
  // Two keys of one name: which of them verifies would depend on the order of the document.
  if (new Set(found.map(({ kid }) => kid)).size < found.length)
    throw new MalformedAnswer('a JWT bundle names two keys alike');
  return found;
}

function parseEntries<Content>(
  entries: readonly BytesEntry[],
  parse: (value: Buffer) => Bundle<Content>,
): Bundles<Content> {
  const bundles = new Map<string, Bundle<Content>>();
  for (const { key, value } of entries) {
    const { trustDomain } = parseTrustDomain(key);
    // Merging, or taking the last, would let one entry add authorities to another's trust domain.
    if (bundles.has(trustDomain)) throw new MalformedAnswer('one answer holds two bundles of one trust domain');
    bundles.set(trustDomain, parse(value));
  }
  return bundles;
}

function readJwtAuthority(key: unknown): JwtAuthority | undefined {
  const members = isObject(key) ? key : {};
  const { kty, kid } = members;
  if (kty !== 'EC' && kty !== 'RSA') return undefined;
  if (typeof kid !== 'string' || kid === '') throw new MalformedAnswer('a key of a JWT bundle has no kid');
  const needed = kty === 'EC' ? ['crv', 'x', 'y'] : ['n', 'e'];
  // Copied by name: a private member of a broken document, or an `x5c` that jose would read, does not come along.
  const text: Record<string, string> = {};
  for (const name of [...needed, 'alg']) {
    const value = members[name];
    if (typeof value === 'string' && value !== '') text[name] = value;
    else if (name !== 'alg') throw new MalformedAnswer('a key of a JWT bundle is incomplete');
  }
  return { kid, kty, ...text };
}

/** Only the form of the standard: with a second spelling (`example.org`) one trust domain could come twice. */
function parseTrustDomain(key: string): SpiffeId {
  try {
    return SpiffeId.parseTrustDomain(key);
  } catch {
    throw new MalformedAnswer('a bundle is not named by the SPIFFE ID of a trust domain');
  }
}

function readObject(json: string): Members {
  try {
    const value: unknown = JSON.parse(json);
    if (isObject(value)) return value;
  } catch {
    // The parser's message quotes the document; the error below does not.
  }
  throw new MalformedAnswer('a JWT bundle is not a JSON object');
}

/** SHA-256 over the digests of the parts in sorted order: agents repeat a state with its keys in another order. */
export function digestOf(parts: readonly (Buffer | string)[]): string {
  const digests = parts.map((part) => createHash('sha256').update(part).digest('hex')).toSorted();
  return createHash('sha256').update(digests.join()).digest('hex');
}
