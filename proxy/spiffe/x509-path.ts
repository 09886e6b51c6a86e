import { X509Certificate, type KeyObject } from 'node:crypto';
import { keyUsageBit, nameForm, readProfile, UnknownCriticalExtension } from './certificate-profile.ts';
import type { CertificateProfile, GeneralName } from './certificate-profile.ts';
import { isStrongSignature } from './certificate-signature.ts';
import { isWithinConstraints } from './name-constraints.ts';
import type { RevocationList } from './revocation-list.ts';
import { findRevocation, type RevocationFault } from './revocation.ts';
import { SpiffeId } from './spiffe-id.ts';

/** Why an X.509-SVID is not believed: a closed set that may be recorded. */
export type InvalidSvidPathReason =
  | 'empty'
  | 'too_long'
  | 'malformed'
  | 'critical_extension'
  | 'spiffe_id'
  | 'leaf_is_authority'
  | 'leaf_key_usage'
  | 'leaf_purpose'
  | 'no_bundle'
  | 'signer_not_authority'
  | 'signer_key_usage'
  | 'signer_id'
  | 'expired'
  | 'not_yet_valid'
  | 'weak'
  | 'path_length'
  | 'name_constraints'
  | 'untrusted'
  | RevocationFault;

/** An X.509-SVID that must not be trusted. Holds no part of it. */
export class InvalidSvidPath extends Error {
  override readonly name = 'InvalidSvidPath';
  readonly reason: InvalidSvidPathReason;

  constructor(reason: InvalidSvidPathReason) {
    super(`invalid X509-SVID: ${reason}`);
    this.reason = reason;
  }
}

/** Whom a verified X.509-SVID speaks for. */
export interface X509Path {
  readonly spiffeId: string;
  readonly trustDomain: string;
  readonly publicKey: KeyObject;
  /** Milliseconds since the epoch; the earliest end on the path, the authority of the bundle with it. */
  readonly notAfterMs: number;
  /** Until when the lists that were asked speak, milliseconds since the epoch: then the path has to be checked anew. Infinity without. */
  readonly revocationKnownUntilMs: number;
}

/** What the X.509-SVIDs of one trust domain are verified with. */
export interface X509Bundle {
  /** DER certificates. */
  readonly authorities: readonly Buffer[];
  /** Lists of any authority: those that nobody on a path signed do not concern it. */
  readonly revocations: readonly RevocationList[];
}

/** The bundle of a trust domain (`example.org`); undefined where it is not trusted. */
export type X509BundleOf = (trustDomain: string) => X509Bundle | undefined;

interface Certificate {
  readonly der: Buffer;
  readonly parsed: X509Certificate;
  readonly publicKey: KeyObject;
  readonly profile: CertificateProfile;
}

/** Certificates that may be handed in, the leaf with them and the authority of the bundle apart. SPIRE uses two; more only makes work for us. */
const maxDepth = 4;
const purposes = { serverAuth: '2b06010505070301', clientAuth: '2b06010505070302' } as const;
const curves: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);

/**
 * Verifies an X.509-SVID (X509-SVID 5, RFC 5280 6.1) against the bundle of the leaf's own trust domain and no other: an authority of
 * one domain says nothing about the names of another. A path that a revocation list names is refused. Throws InvalidSvidPath.
 * @param chain DER certificates, leaf first, each issued by the next (RFC 7515 4.1.6), with or without the authority of the bundle.
 * @param nowMs milliseconds since the epoch.
 */
export function checkX509Path(chain: readonly Buffer[], bundleOf: X509BundleOf, nowMs: number): X509Path {
  if (chain.length > maxDepth + 1) throw new InvalidSvidPath('too_long');
  const path = chain.map(readCertificate);
  const [leaf] = path;
  if (leaf === undefined) throw new InvalidSvidPath('empty');
  const spiffeId = checkLeaf(leaf.profile);
  const bundle = bundleOf(spiffeId.trustDomain);
  if (bundle === undefined) throw new InvalidSvidPath('no_bundle');
  // Node adds the authority to the chain of a TLS peer: the same SVID must not pass as a header and fail on a connection.
  if (path.length > maxDepth && !endsAtAnchor(path, bundle.authorities)) throw new InvalidSvidPath('too_long');
  // All that costs nothing comes before the signatures: anybody can make a long path of certificates.
  let fault = findFault(path, nowMs);
  if (fault !== undefined) throw new InvalidSvidPath(fault);
  fault = 'untrusted';
  // Of several authorities that fit (renewed with the same key) one that is good suffices.
  for (const whole of endAtAnchor(path, bundle.authorities)) {
    const reason =
      findFault(whole, nowMs) ?? findIssuingFault(whole, spiffeId) ?? findRevocation(whole, bundle.revocations, nowMs);
    if (typeof reason === 'number') {
      const notAfterMs = Math.min(...whole.map(({ profile }) => profile.endsAtMs));
      return {
        spiffeId: spiffeId.toString(),
        trustDomain: spiffeId.trustDomain,
        publicKey: leaf.publicKey,
        notAfterMs,
        revocationKnownUntilMs: reason,
      };
    }
    fault = reason;
  }
  throw new InvalidSvidPath(fault);
}

function readCertificate(der: Buffer): Certificate {
  try {
    // The library stops reading at the end of the certificate; the profile's reader refuses bytes behind it.
    const profile = readProfile(der);
    const parsed = new X509Certificate(der);
    // The key is parsed only when it is asked for, so it is asked for here: one that is none throws.
    return { der, profile, parsed, publicKey: parsed.publicKey };
  } catch (error) {
    throw new InvalidSvidPath(error instanceof UnknownCriticalExtension ? 'critical_extension' : 'malformed');
  }
}

/** X509-SVID 2, 4 and 5.2: one URI name, not an authority, a key for signatures and TLS only. */
function checkLeaf({ names, isAuthority, keyUsage, purposes: listed }: CertificateProfile): SpiffeId {
  const uris = names.filter(({ form }) => form === nameForm.uri);
  const spiffeId = readId(uris[0]?.text);
  // Of two, one reader believes the first and another the last.
  if (spiffeId === undefined || spiffeId.path === '' || uris.length > 1) throw new InvalidSvidPath('spiffe_id');
  if (isAuthority) throw new InvalidSvidPath('leaf_is_authority');
  const { digitalSignature, keyCertSign, crlSign } = keyUsageBit;
  const decisive = (keyUsage?.bits ?? 0) & (digitalSignature | keyCertSign | crlSign);
  if (keyUsage?.critical !== true || decisive !== digitalSignature) throw new InvalidSvidPath('leaf_key_usage');
  if (listed !== undefined && !(listed.includes(purposes.serverAuth) && listed.includes(purposes.clientAuth))) {
    throw new InvalidSvidPath('leaf_purpose');
  }
  return spiffeId;
}

function readId(uri: string | undefined): SpiffeId | undefined {
  try {
    return SpiffeId.parse(uri ?? '');
  } catch {
    return undefined;
  }
}

/** What can be seen of a path without verifying a signature: its authorities are such, and every certificate is in use and sound. */
function findFault(path: readonly Certificate[], nowMs: number): InvalidSvidPathReason | undefined {
  for (const [index, certificate] of path.entries()) {
    const fault = (index > 0 ? findSignerFault(certificate.profile) : undefined) ?? findUseFault(certificate, nowMs);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** X509-SVID 3.2: a signing certificate is an authority by both of its extensions, and its SPIFFE ID, if any, names a trust domain. */
function findSignerFault({ isAuthority, keyUsage, names }: CertificateProfile): InvalidSvidPathReason | undefined {
  if (!isAuthority) return 'signer_not_authority';
  if (((keyUsage?.bits ?? 0) & keyUsageBit.keyCertSign) === 0) return 'signer_key_usage';
  return names.filter(isSpiffe).every(({ text }) => readId(text)?.path === '') ? undefined : 'signer_id';
}

function isSpiffe({ form, text }: GeneralName): boolean {
  return form === nameForm.uri && /^spiffe:/i.test(text);
}

function findUseFault({ profile, publicKey }: Certificate, nowMs: number): InvalidSvidPathReason | undefined {
  if (nowMs < profile.startsAtMs) return 'not_yet_valid';
  if (nowMs >= profile.endsAtMs) return 'expired';
  return isSoundKey(publicKey) ? undefined : 'weak';
}

function isSoundKey({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): boolean {
  if (type === 'ec') return curves.has(details?.namedCurve ?? '');
  const bits = details?.modulusLength ?? 0;
  return type === 'ed25519' || (type === 'rsa' && bits >= 2048 && bits <= 8192);
}

/** The path as it ends at an authority of the bundle: its last certificate itself, byte for byte, or one that is named as its issuer. */
function endAtAnchor(path: readonly Certificate[], anchors: readonly Buffer[]): readonly (readonly Certificate[])[] {
  const last = path.at(-1);
  if (last === undefined) return [];
  if (endsAtAnchor(path, anchors)) return [path];
  return anchors.flatMap((der) => {
    const anchor = readAnchor(der);
    return anchor !== undefined && last.parsed.checkIssued(anchor.parsed) ? [[...path, anchor]] : [];
  });
}

/** Whether the last certificate that was handed in is an authority of the bundle itself. */
function endsAtAnchor(path: readonly Certificate[], anchors: readonly Buffer[]): boolean {
  const last = path.at(-1);
  return path.length > 1 && last !== undefined && anchors.some((der) => der.equals(last.der));
}

/** One broken authority in a bundle must not take the others down with it. */
function readAnchor(der: Buffer): Certificate | undefined {
  try {
    return readCertificate(der);
  } catch {
    return undefined;
  }
}

/** Each certificate is issued by the next, and within what those above allow it. From the top: a made-up path fails at its first signature. */
function findIssuingFault(whole: readonly Certificate[], spiffeId: SpiffeId): InvalidSvidPathReason | undefined {
  for (let index = whole.length - 1; index > 0; index--) {
    const [authority, certificate] = [whole[index], whole[index - 1]];
    if (authority === undefined || certificate === undefined) return 'empty';
    // Every certificate between it and the leaf counts, also self-issued ones: stricter than RFC 5280, and simpler.
    if (index - 1 > authority.profile.pathLength) return 'path_length';
    const below = whole.slice(0, index);
    if (!below.every(({ profile }) => isWithinConstraints(profile, authority.profile))) return 'name_constraints';
    if (!isStrongSignature(certificate.profile.signatureAlgorithm)) return 'weak';
    if (!isIssued(certificate, authority)) return 'untrusted';
  }
  // An authority that is named for one trust domain does not issue leaves of another, though their bundles share a root.
  const ids = whole[1]?.profile.names.filter(isSpiffe) ?? [];
  return ids.every(({ text }) => readId(text)?.trustDomain === spiffeId.trustDomain) ? undefined : 'signer_id';
}

function isIssued({ parsed }: Certificate, authority: Certificate): boolean {
  try {
    return parsed.checkIssued(authority.parsed) && parsed.verify(authority.publicKey);
  } catch {
    return false;
  }
}
